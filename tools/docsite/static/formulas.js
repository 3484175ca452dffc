// Draws every formula in the page. What can't be read stays as it was written, in red.
document.addEventListener("DOMContentLoaded", () => {
  for (const place of document.querySelectorAll("div.math, span.math")) {
    katex.render(place.textContent, place, { displayMode: place.tagName === "DIV", throwOnError: false });
  }
});
