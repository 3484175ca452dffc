// What the pages do beside being read: keys, switches whose state stands in the address, mathematics, live parts.
// Text of models is only ever read from and written to text nodes.
"use strict";

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// -- the state of the switches, kept in the address behind # ------------------------------------------------------------

const state = new URLSearchParams(location.hash.slice(1));

function keep(key, value) {
  if (value === "" || value === null) state.delete(key);
  else state.set(key, value);
  const hash = state.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  for (const link of all('a[rel="prev"], a[rel="next"]')) carry(link);
}

function carry(link) {
  const carried = new URLSearchParams(state);
  carried.delete("at");
  const hash = carried.toString();
  link.setAttribute("href", link.getAttribute("href").split("#")[0] + (hash ? `#${hash}` : ""));
}

// -- switches ---------------------------------------------------------------------------------------------------------

function colour(name) {
  const known = all("[data-colour]:is(button)").map((b) => b.dataset.colour);
  if (!known.includes(name)) name = "";
  root.dataset.colour = name;
  for (const button of all("button[data-colour]")) button.setAttribute("aria-pressed", String(button.dataset.colour === name));
  for (const scale of all(".scale")) scale.hidden = scale.dataset.for !== name;
  keep("colour", name);
}

function nextColour() {
  const known = all("button[data-colour]").map((b) => b.dataset.colour);
  if (known.length) colour(known[(known.indexOf(root.dataset.colour || "") + 1) % known.length]);
}

function toggle(name, on) {
  const button = document.querySelector(`button[data-toggle="${name}"]`);
  if (!button) return;
  const now = on ?? button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(now));
  if (name === "math") now ? showMath() : hideMath();
  else root.dataset[name] = now ? "on" : "off";
  keep(name, name === "math" ? (now ? "1" : "") : now ? "" : "0");
}

function theme() {
  const order = ["", "light", "dark"];
  const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  try { localStorage.setItem("posttrain-theme", next); } catch {}
}

// -- mathematics ------------------------------------------------------------------------------------------------------

const MATH = /\$\$([^$]+)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$([^$\n]+?)\$|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g;
const MATH_TEXT = 50000; // characters of a text in which formulas are looked for
const MATH_LONGEST = 1500; // characters of one formula
const MATH_MOST = 400; // formulas of a page
let mathLeft = MATH_MOST;
const written = new Map();

function formula(source, display) {
  const span = document.createElement(display ? "div" : "span");
  katex.render(source, span, { displayMode: display, throwOnError: false, trust: false, strict: "ignore", maxSize: 20, maxExpand: 100, output: "html" });
  return span;
}

function withMath(text) {
  const fragment = document.createDocumentFragment();
  let at = 0;
  if (text.length <= MATH_TEXT && typeof katex !== "undefined") {
    for (const match of text.matchAll(MATH)) {
      const source = match.slice(1).find((part) => part !== undefined);
      if (mathLeft <= 0 || source.length > MATH_LONGEST) continue;
      mathLeft -= 1;
      let made;
      try { made = formula(source, match[1] !== undefined || match[2] !== undefined); } catch { continue; }
      fragment.append(text.slice(at, match.index), made);
      at = match.index + match[0].length;
    }
  }
  if (at === 0) return null;
  fragment.append(text.slice(at));
  return fragment;
}

function inPlace(element) {
  const made = element.querySelector("*") ? null : withMath(element.textContent);
  if (made) element.replaceChildren(made);
}

function showMath() {
  mathLeft = MATH_MOST;
  for (const trace of all("[data-trace]")) {
    const copy = trace.cloneNode(true);
    for (const gone of all("del", copy)) gone.remove();
    const made = withMath(copy.textContent);
    if (made) {
      written.set(trace, [...trace.childNodes]);
      trace.replaceChildren(made);
    }
  }
}

function hideMath() {
  for (const [trace, nodes] of written) trace.replaceChildren(...nodes);
  written.clear();
}

// -- checkpoints, rows, problems ----------------------------------------------------------------------------------------

let column = -1;

function toColumn(at, move = true) {
  const columns = all(".col");
  if (!columns.length) return;
  column = Math.max(0, Math.min(columns.length - 1, at));
  for (const element of all("[data-at]")) element.classList.toggle("at", Number(element.dataset.at) === column);
  if (move) columns[column].scrollIntoView({ inline: "center", block: "nearest", behavior: "auto" });
  keep("at", String(column));
}

let row = -1;

function toRow(step) {
  const rows = all("main tbody tr").filter((r) => !r.hidden && r.querySelector("a"));
  if (!rows.length) return false;
  row = Math.max(0, Math.min(rows.length - 1, row + step));
  for (const element of all("tr.here")) element.classList.remove("here");
  rows[row].classList.add("here");
  rows[row].scrollIntoView({ block: "nearest" });
  rows[row].querySelector("a").focus({ preventScroll: true });
  return true;
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (link) link.click();
  return Boolean(link);
}

// -- the map: what is under the pointer; sorting and choosing where there is no server ------------------------------------

function watchMap(map) {
  const labels = map.dataset.columns.split("|");
  const told = document.getElementById("told");
  const words = { c0: "none right", c1: "some right", c2: "some right", c3: "most right", c4: "all right" };
  map.addEventListener("pointerover", (event) => {
    if (event.target.localName !== "i") { told.textContent = ""; return; }
    const at = [...event.target.parentNode.children].indexOf(event.target);
    told.textContent = `${labels[at]}: ${words[event.target.className] || "not asked"}`;
  });
  map.addEventListener("click", (event) => {
    if (event.target.localName !== "i") return;
    const link = event.target.closest("tr").querySelector("a");
    const at = [...event.target.parentNode.children].indexOf(event.target);
    if (link) location.href = `${link.getAttribute("href")}#at=${at}`;
  });
  if (!document.querySelector(".find")) arrange(map);
}

function arrange(map) {
  const body = map.tBodies[0];
  const apply = () => {
    const sort = state.get("sort") || "asked";
    const show = state.get("show") || "";
    const rows = [...body.rows].sort((a, b) => Number(a.dataset[sort]) - Number(b.dataset[sort]));
    for (const r of rows) r.hidden = show !== "" && !r.dataset.tags.split(" ").includes(show);
    body.append(...rows);
    for (const link of all("[data-sort]")) link.toggleAttribute("aria-current", link.dataset.sort === sort);
    for (const link of all("[data-show]")) link.toggleAttribute("aria-current", link.dataset.show === show);
    row = -1;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-sort], a[data-show]");
    if (!link) return;
    event.preventDefault();
    if (link.dataset.sort !== undefined) keep("sort", link.dataset.sort === "asked" ? "" : link.dataset.sort);
    else keep("show", link.dataset.show);
    apply();
  });
  apply();
}

// -- live parts: the same page, asked again -------------------------------------------------------------------------------

function watch(element) {
  let before = "";
  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(element.dataset.live, { credentials: "same-origin" });
        const text = await answer.text();
        if (answer.ok && text !== before) {
          before = text;
          element.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
        }
        root.dataset.live = "on";
      } catch { root.dataset.live = "lost"; }
    }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
}

// -- keys -------------------------------------------------------------------------------------------------------------

const keys = {
  j: () => toRowOr(1, 'a[rel="next"]'),
  k: () => toRowOr(-1, 'a[rel="prev"]'),
  Enter: () => follow("tr.here a"),
  ArrowRight: () => toColumn(column + 1),
  ArrowLeft: () => toColumn(column - 1),
  c: nextColour,
  d: () => toggle("diff"),
  r: () => toggle("marks"),
  m: () => toggle("math"),
  u: () => follow("a[data-up]"),
  t: theme,
  "/": () => (document.querySelector('main input[type="search"]') || document.querySelector(".find input"))?.focus(),
  "?": () => document.getElementById("keys").showModal(),
};

function toRowOr(step, selector) {
  if (document.querySelector(".columns")) follow(selector);
  else toRow(step);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "Enter" && event.target.matches("[data-submit]")) { event.target.form.requestSubmit(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea, select")) { if (event.key === "Escape") event.target.blur(); return; }
  if (event.key === "Enter" && event.target.matches("a, button, summary")) return;
  if (/^[1-9]$/.test(event.key)) { follow(`nav a[data-key="${event.key}"]`); return; }
  if (/^Arrow/.test(event.key) && !document.querySelector(".columns")) return;
  const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
  if (act) { event.preventDefault(); act(); }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button, .rail a");
  if (!button) return;
  if (button.dataset.do === "theme") theme();
  else if (button.dataset.do === "help") document.getElementById("keys").showModal();
  else if (button.dataset.colour !== undefined) colour(button.dataset.colour);
  else if (button.dataset.toggle) toggle(button.dataset.toggle);
  else if (button.dataset.at !== undefined) { event.preventDefault(); toColumn(Number(button.dataset.at)); }
});

// -- at the start -------------------------------------------------------------------------------------------------------

document.querySelector("nav [aria-current=page]")?.scrollIntoView({ inline: "center", block: "nearest" }); // on a phone the bar is longer
for (const element of all(".tex")) inPlace(element);
if (document.querySelector("button[data-colour]")) colour(state.get("colour") || "");
for (const name of ["diff", "marks"]) if (state.get(name) === "0") toggle(name, false);
if (state.get("math") === "1") toggle("math", true);
if (state.has("at")) toColumn(Number(state.get("at")) || 0);
for (const map of all(".map")) watchMap(map);
for (const element of all("[data-live]:not(html)")) watch(element);
const named = location.hash && document.getElementById(location.hash.slice(1));
if (named && named.localName === "details") named.open = true;
addEventListener("hashchange", () => {
  const there = document.getElementById(location.hash.slice(1));
  if (there && there.localName === "details") there.open = true;
});
