"""``python -m tools.reference``: writes every generated page and section anew, and says which ones changed."""

from __future__ import annotations

from tools.reference.everything import ROOT, leftovers, stale


def main() -> None:
    for name, text in stale(ROOT).items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(name)
    for name in leftovers(ROOT):
        (ROOT / name).unlink()
        print(f"{name} (removed)")


if __name__ == "__main__":
    main()
