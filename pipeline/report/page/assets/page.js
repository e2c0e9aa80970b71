// What the page does beside its explorer. It may be shown in a frame without storage, links or clipboard.

const $ = (id) => document.getElementById(id);
const root = document.documentElement;

// A frame of a text, as MLflow's, may neither store, nor copy, nor lead anywhere else.
const framed = window !== window.top && window.origin === "null";

// Light or dark: as the system is, unless somebody has chosen.
function kept(theme) {
  try {
    if (theme) localStorage.setItem("ordinal-theme", theme);
    return localStorage.getItem("ordinal-theme");
  } catch {
    return theme;
  }
}

const dark = matchMedia("(prefers-color-scheme: dark)");
if (["light", "dark"].includes(kept())) root.dataset.theme = kept();
$("theme").hidden = false;
$("theme").addEventListener("click", () => {
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  kept(root.dataset.theme);
});

// In a frame made of a text, "#part" would lead to the page around it.
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    const part = $(link.hash.slice(1));
    event.preventDefault();
    part.scrollIntoView();
    (part.querySelector("h2") || part).focus({ preventScroll: true });
  });
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) =>
    head.firstElementChild.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[place].dataset.value;
      const compare = (a, b) =>
        place === 0 ? a.localeCompare(b, undefined, { numeric: true }) : missingLast(a) - missingLast(b);
      const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? 1 : -1) * compare(value(a), value(b)));
      table.tBodies[0].append(...rows);
    }),
  );
}

function missingLast(text) {
  const number = Number(text);
  return Number.isNaN(number) ? Number.MAX_VALUE : number;
}

// An element with properties, and with what is in it. Texts are never taken for HTML.
function element(name, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(name), properties);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "scope" || key === "role") made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
}
