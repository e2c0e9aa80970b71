// The explorer: what is edited, and what follows from it at every keystroke.

const given = JSON.parse($("given").textContent);
const K = given.labels.length;
const probabilities = decoded(given.probabilities, Float32Array);
const truths = decoded(given.truths, Uint16Array);
const byDefault = given.profiles.find((one) => one.name === given.profile);
const state = { actions: [], cost: [], abstain: null, price: 1, preset: null };
let last = null; // what was found last for valid costs

// The cost matrix with the abstention as its last action, and the names of all actions.
function whole({ actions, cost, abstain }) {
  if (abstain === null) return { actions, cost };
  return { actions: [...actions, "abstain"], cost: cost.map((row) => [...row, abstain]) };
}

const standard = whole(byDefault);
const standardActions = decided(probabilities, given.rows, standard.cost).actions;

// All that is shown of costs that are valid.
function explored(costs) {
  const { actions, cost } = whole(costs);
  const { actions: chosen, expected } = decided(probabilities, given.rows, cost);
  const mine = paid(truths, chosen, cost);
  const counts = counted(truths, chosen, K, actions.length);
  const shares = actions.map((_, a) => counts.reduce((sum, row) => sum + row[a], 0));
  const one = constant(given.shares, cost);
  const always = paid(truths, new Int32Array(given.rows).fill(one), cost);
  const there = standard.actions.map((name) => actions.indexOf(name));
  const other = there.includes(-1) ? null : paid(truths, standardActions.map((a) => there[a]), cost);
  const more = (costs) => mean(costs.map((value, row) => value - mine[row]));
  return {
    actions,
    chosen,
    counts,
    shares,
    rows: given.rows,
    profile: given.profile,
    abstains: costs.abstain !== null,
    abstained: costs.abstain === null ? 0 : shares.at(-1) / given.rows,
    decidesLabels: given.labels.every((label, k) => costs.actions[k] === label),
    realised: mean(mine),
    expected: mean(expected).mean,
    byDefault: other ? { ...mean(other), more: more(other) } : {},
    constant: { action: actions[one], ...mean(always), more: more(always) },
  };
}

// Says of a field whether it is wrong, and by which sentence. Attributes that stay cost nothing.
function mark(input, bad) {
  if (input.hasAttribute("aria-invalid") === bad) return;
  for (const [name, value] of [["aria-invalid", "true"], ["aria-describedby", "problem"]]) {
    if (bad) input.setAttribute(name, value);
    else input.removeAttribute(name);
  }
}

// What is wrong with the costs as they stand, "" where nothing is; marks the fields that are wrong.
function wrong() {
  const found = [];
  for (const input of $("grid").querySelectorAll("input.cost")) {
    const { k, a } = input.dataset;
    const bad = !isCost(state.cost[k][a]);
    mark(input, bad);
    if (bad) found.push(`The cost of ${state.actions[a]} where ${given.labels[k]} is true`);
  }
  const priceless = state.abstain !== null && !isCost(state.abstain);
  mark($("abstain-cost"), priceless);
  if (priceless) found.push("The cost of abstaining");
  const texts = found.length
    ? [`${found[0]}${found.length > 1 ? ` (and ${found.length - 1} more)` : ""} must be a number from 0 on.`]
    : [];
  for (const input of $("grid").querySelectorAll("input.name")) {
    const name = state.actions[input.dataset.name];
    const twice = state.actions.filter((other) => other === name).length > 1;
    const taken = name === "abstain" && state.abstain !== null;
    mark(input, name === "" || twice || taken);
    if (name === "") texts.push("An action must have a name.");
    else if (twice) texts.push(`Two actions are named ${name}: each must have a name of its own.`);
    else if (taken) texts.push("An action is named abstain, which is also what abstaining is called: rename it.");
  }
  if (state.actions.length + (state.abstain !== null) < 2)
    texts.push("There must be two actions to decide between: add one, or let it abstain.");
  return [...new Set(texts)].join(" ");
}

// Shows the abstention in its fields. What somebody types stays as it is typed, and the slider keeps its
// length while it is pulled.
function drawAbstention() {
  const [field, slide] = [$("abstain-cost"), $("abstain-slide")];
  $("abstain").checked = state.abstain !== null;
  field.disabled = slide.disabled = state.abstain === null;
  if (document.activeElement !== slide) slide.max = Math.max(dearest(state.cost), state.price);
  slide.value = state.price;
  const shown = state.abstain ?? state.price;
  if (!Object.is(costOf(field), shown)) field.value = shown;
}

function update() {
  drawAbstention();
  const problem = wrong();
  $("problem").hidden = !problem;
  $("problem").textContent = problem ? `${problem} What is shown is of the last costs that were right.` : "";
  $("app").classList.toggle("stale", Boolean(problem));
  for (const id of ["copy-toml", "copy-python"]) $(id).disabled = Boolean(problem);
  for (const chip of $("presets").children)
    chip.setAttribute("aria-pressed", chip.dataset.profile === state.preset);
  $("code").hidden = true;
  $("copied").textContent = "";
  if (problem) return;
  last = explored(state);
  drawResults(last, given.labels);
}

// Shows the state in every field.
function redraw() {
  drawGrid($("grid"), state, given.labels);
  update();
}

function start({ name, actions, cost, abstain }) {
  const price = abstain ?? Number((dearest(cost) / 10).toPrecision(1));
  Object.assign(state, { actions: [...actions], cost: cost.map((row) => [...row]), abstain, price, preset: name });
  redraw();
}

function edited() {
  state.preset = null;
  update();
}

$("presets").append(
  ...given.profiles.map((one) => {
    const chip = element("button", { type: "button", textContent: one.name, "data-profile": one.name });
    chip.addEventListener("click", () => start(one));
    return chip;
  }),
);
$("reset").addEventListener("click", () => start(byDefault));

$("grid").addEventListener("input", ({ target }) => {
  if (target.dataset.name !== undefined) state.actions[target.dataset.name] = target.value.trim();
  else state.cost[target.dataset.k][target.dataset.a] = costOf(target);
  shade($("grid"), state);
  edited();
});
$("grid").addEventListener("keydown", (event) => walk(event, $("grid")));
$("grid").addEventListener("paste", (event) => {
  if (!paste(event, $("grid"))) return;
  for (const input of $("grid").querySelectorAll("input.cost"))
    state.cost[input.dataset.k][input.dataset.a] = costOf(input);
  shade($("grid"), state);
  edited();
});
$("grid").addEventListener("click", ({ target }) => {
  if (target.dataset.remove === undefined) return;
  state.actions.splice(target.dataset.remove, 1);
  for (const row of state.cost) row.splice(target.dataset.remove, 1);
  state.preset = null;
  redraw();
});
$("add").addEventListener("click", () => {
  let number = state.actions.length + 1;
  while (state.actions.includes(`action ${number}`)) number++;
  state.actions.push(`action ${number}`);
  const most = dearest(state.cost);
  for (const row of state.cost) row.push(most);
  state.preset = null;
  redraw();
  $("grid").querySelector("th:last-child input")?.select();
});

$("abstain").addEventListener("change", ({ target }) => {
  state.abstain = target.checked ? state.price : null;
  edited();
});
$("abstain-cost").addEventListener("input", ({ target }) => {
  state.abstain = costOf(target);
  if (isCost(state.abstain)) state.price = state.abstain;
  edited();
});
$("abstain-slide").addEventListener("input", ({ target }) => {
  state.abstain = state.price = Number(Number(target.value).toPrecision(3));
  edited();
});

for (const id of ["under", "over", "power"])
  $(id).addEventListener("input", () => {
    const [under, over, power] = [costOf($("under")), costOf($("over")), Number($("power").value)];
    mark($("under"), Number.isNaN(under));
    mark($("over"), Number.isNaN(over));
    if (Number.isNaN(under) || Number.isNaN(over)) return;
    const cost = given.labels.map((_, k) =>
      given.labels.map((_, a) => {
        const way = offset(k, a, K, given.ring);
        return way === 0 ? 0 : (way > 0 ? over : under) * Math.abs(way) ** power;
      }),
    );
    Object.assign(state, { actions: [...given.labels], cost, preset: null });
    redraw();
  });

for (const [id, made, name] of [
  ["copy-toml", asToml, "TOML"],
  ["copy-python", asPython, "Python"],
])
  $(id).addEventListener("click", async () => {
    const done = await copied(made(state, given.labels), $("code"));
    $("copied").textContent = done
      ? `Copied as ${name}.`
      : `This page may not write to the clipboard: the ${name} is selected, copy it by Ctrl+C.`;
  });

$("app").hidden = false;
start(byDefault);

// For tests and for whoever is curious: cost[true label][action], an abstention as its last column.
window.explorer = {
  decide: (cost) => Array.from(decided(probabilities, given.rows, cost).actions),
  expected: (cost) => Array.from(decided(probabilities, given.rows, cost).expected),
  explore: explored,
  start,
  get state() {
    return structuredClone(state);
  },
};
