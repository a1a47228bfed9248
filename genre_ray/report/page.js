// Sortable tables and the theme button; the page is whole without either.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const downward = head.ariaSort !== "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", downward ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.order ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const x = value(a), y = value(b), empty = t => t === "" || t === "–";
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return downward ? -order : order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
const button = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const label = now => { button.textContent = now === "dark" ? "Light" : "Dark"; };
let theme = dark.matches ? "dark" : "light";
label(theme);
button.hidden = false;
button.addEventListener("click", () => {
  theme = theme === "dark" ? "light" : "dark";
  document.documentElement.style.colorScheme = theme;
  label(theme);
});
