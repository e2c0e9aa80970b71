// The cost matrix that is edited: a cell for each cost, a name for each action.

// Makes the cells anew: the actions are others, or all costs.
function drawGrid(table, state, labels) {
  const cell = (k, a) =>
    element("input", {
      type: "number", min: "0", step: "any", inputMode: "decimal", value: state.cost[k][a],
      className: "cost", "data-k": k, "data-a": a,
      "aria-label": `cost of ${state.actions[a]} where ${labels[k]} is true`,
    });
  const name = (a) =>
    element(
      "th", { scope: "col" },
      element("input", {
        type: "text", className: "name", value: state.actions[a], "data-name": a, size: 4,
        "aria-label": `name of action ${a + 1}`, spellcheck: false, title: state.actions[a],
      }),
      element("button", {
        type: "button", className: "remove", "data-remove": a, textContent: "×",
        "aria-label": `remove action ${state.actions[a]}`, hidden: state.actions.length < 2,
      }),
    );
  table.replaceChildren(
    element("thead", {}, element("tr", {}, element("td"), ...state.actions.map((_, a) => name(a)))),
    element(
      "tbody", {},
      ...labels.map((label, k) =>
        element(
          "tr", {},
          element("th", { scope: "row", textContent: label, title: label }),
          ...state.actions.map((_, a) => element("td", {}, cell(k, a))),
        ),
      ),
    ),
  );
  shade(table, state);
}

// The largest of the cells that are costs, 1 where none is above zero.
function dearest(cost) {
  let most = 0;
  for (const row of cost) for (const value of row) if (isCost(value) && value > most) most = value;
  return most || 1;
}

// Dearer cells are darker.
function shade(table, state) {
  const most = dearest(state.cost);
  for (const input of table.querySelectorAll("input.cost")) {
    const value = state.cost[input.dataset.k][input.dataset.a];
    const heat = isCost(value) ? Math.sqrt(value / most).toFixed(3) : "0";
    if (input.dataset.heat !== heat) input.style.setProperty("--heat", (input.dataset.heat = heat));
  }
}

// What a field says: a cost, or NaN where it is none.
function costOf(input) {
  const value = input.value.trim() === "" ? NaN : Number(input.value);
  return isCost(value) ? value : NaN;
}

// Arrow keys with Alt, and Enter, go from cell to cell; Tab goes as it always does.
function walk(event, table) {
  const { k, a } = event.target.dataset;
  const ways = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const way = event.key === "Enter" ? [event.shiftKey ? -1 : 1, 0] : event.altKey ? ways[event.key] : null;
  if (k === undefined || !way) return;
  event.preventDefault();
  const next = table.querySelector(`[data-k="${+k + way[0]}"][data-a="${+a + way[1]}"]`);
  next?.focus();
  next?.select();
}

// Cells of a spreadsheet go into as many cells from here on; returns whether there were any.
function paste(event, table) {
  const { k, a } = event.target.dataset;
  const text = event.clipboardData.getData("text").trim();
  if (k === undefined || !/[\t\n]/.test(text)) return false;
  event.preventDefault();
  text.split(/\r?\n/).forEach((line, down) =>
    line.split("\t").forEach((value, right) => {
      const input = table.querySelector(`[data-k="${+k + down}"][data-a="${+a + right}"]`);
      if (input) input.value = value.trim().replace(",", ".");
    }),
  );
  return true;
}
