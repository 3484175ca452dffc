// Before the first paint: the theme that was chosen here before. Storage may be forbidden, as it is from file://.
"use strict";
try {
  const kept = localStorage.getItem("posttrain-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch {}
