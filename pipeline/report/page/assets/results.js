// What comes of costs, shown.

// As many decimals as a verdict has: three, of small numbers more.
function shown(value, size = Math.abs(value)) {
  if (!Number.isFinite(value)) return "–";
  const digits = size > 0 ? Math.min(Math.max(3, 2 - Math.floor(Math.log10(size))), 9) : 3;
  return value.toFixed(digits).replace("-", "−");
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Puts a text into an element, and the number behind it where tests and tools find it.
function put(id, text, value) {
  $(id).textContent = text;
  if (value !== undefined) $(id).dataset.value = value;
}

function drawResults(found, labels) {
  const size = found.realised.mean || found.expected;
  put("realised", shown(found.realised.mean), found.realised.mean);
  put("realised-error", `± ${shown(found.realised.error, size)} a row`, found.realised.error);
  put("expected", shown(found.expected, size), found.expected);
  const less = found.realised.mean - found.expected;
  put("expected-told", `${shown(Math.abs(less), size)} ${less > 0 ? "less" : "more"} than realised`);
  put("abstained", found.abstains ? percent(found.abstained) : "–", found.abstained);
  put("abstained-told", found.abstains ? `of ${found.rows.toLocaleString("en")} rows` : "may not abstain");
  drawVersus(found);
  drawShares(found);
  drawTruths(found, labels);
}

// The same rows decided in other ways, each cost on one scale.
function drawVersus(found) {
  const ways = [
    { id: "mine", name: "By these costs", ...found.realised },
    { id: "default", name: `By ${found.profile} cost`, ...found.byDefault },
    { id: "always", name: `Always ${found.constant.action}`, ...found.constant },
  ];
  const most = Math.max(...ways.map((way) => (way.mean ?? 0) + 2 * (way.error || 0)), 1e-12);
  const place = (value) => `${(100 * Math.min(Math.max(value / most, 0), 1)).toFixed(2)}%`;
  $("versus").replaceChildren(
    ...ways.map((way) => {
      const line = element("div", { className: `way ${way.id}` });
      line.append(element("span", { className: "name", textContent: way.name, title: way.name }));
      if (way.mean === undefined) {
        line.append(element("span", { className: "none", textContent: "decides on other actions" }));
        return line;
      }
      const track = element("span", { className: "track", "aria-hidden": "true" });
      const whisker = element("span", { className: "reach" });
      whisker.style.left = place(way.mean - 2 * (way.error || 0));
      whisker.style.right = `calc(100% - ${place(way.mean + 2 * (way.error || 0))})`;
      const dot = element("span", { className: "at" });
      dot.style.left = place(way.mean);
      track.append(whisker, dot);
      const number = element("b", { id: `versus-${way.id}`, textContent: shown(way.mean, most), "data-value": way.mean });
      line.append(track, number);
      if (way.more) {
        const { mean: more, error } = way.more;
        const sign = more > 0 ? "+" : "";
        const text = more || error ? `${sign}${shown(more, most)} ± ${shown(error, most)}` : "no difference";
        line.append(element("small", { textContent: text }));
      }
      return line;
    }),
  );
}

function drawShares(found) {
  const total = found.shares.map((count, a) => [count, found.actions[a], a]);
  $("shares").replaceChildren(
    ...total.map(([count, action, a]) => {
      const bar = element("span", { className: "fill", "aria-hidden": "true" });
      bar.style.width = `${(100 * count) / found.rows}%`;
      return element(
        "li", { className: found.abstains && a === found.actions.length - 1 ? "abstains" : "" },
        element("span", { className: "name", textContent: action, title: action }),
        element("span", { className: "track" }, bar),
        element("b", { textContent: percent(count / found.rows), "data-count": count }),
      );
    }),
  );
}

// Rows by true label and action. The cells are made anew only where the actions are others.
function drawTruths(found, labels) {
  const table = $("truths");
  const key = found.actions.join("\0");
  if (table.dataset.key !== key) {
    table.dataset.key = key;
    table.replaceChildren(
      element("thead", {}, element(
        "tr", {}, element("td"),
        ...found.actions.map((action) => element("th", { scope: "col", textContent: action, title: action })),
      )),
      element("tbody", {}, ...labels.map((label) => element(
        "tr", {}, element("th", { scope: "row", textContent: label, title: label }),
        ...found.actions.map(() => element("td")),
      ))),
    );
  }
  const own = found.decidesLabels;
  found.counts.forEach((counts, k) => {
    const rows = counts.reduce((sum, count) => sum + count, 0) || 1;
    counts.forEach((count, a) => {
      const cell = table.tBodies[0].rows[k].cells[a + 1];
      const kind = `${own && a < labels.length ? (k === a ? "right" : "wrong") : ""} ${count ? "" : "none"}`;
      if (cell.className !== kind) cell.className = kind;
      const text = count ? String(count) : "·";
      if (cell.textContent !== text) cell.textContent = text;
      cell.style.setProperty("--heat", Math.sqrt(count / rows).toFixed(3));
    });
  });
}
