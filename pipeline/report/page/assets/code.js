// Costs as the config and the client have them.

// A text as TOML and Python both read it.
const quoted = (text) => JSON.stringify(text).replaceAll("\u007f", "\\u007f");
const listed = (texts) => `[${texts.map(quoted).join(", ")}]`;
const written = String; // 0.5, 1e-7, 1.5e+20: TOML and Python read these too

function lines(cost) {
  const texts = cost.map((row) => row.map(written));
  const wide = texts[0].map((_, a) => Math.max(...texts.map((row) => row[a].length)));
  return texts.map((row) => `  [${row.map((text, a) => text.padStart(wide[a])).join(", ")}],`).join("\n");
}

// A profile of the config; the actions are left out where they are the labels.
function asToml({ actions, cost, abstain }, labels) {
  const own = actions.join("\0") !== labels.join("\0");
  return [
    "[decision.profiles.mine]",
    ...(own ? [`actions = ${listed(actions)}`] : []),
    "cost = [ # cost[true label][action]",
    lines(cost),
    "]",
    ...(abstain === null ? [] : [`abstain = ${written(abstain)}`]),
    "",
  ].join("\n");
}

// A policy of the client.
function asPython({ actions, cost, abstain }, labels) {
  const own = actions.join("\0") !== labels.join("\0");
  return [
    "Policy(",
    '  "mine",',
    "  cost=[  # cost[true label][action]",
    lines(cost).replaceAll(/^/gm, "  "),
    "  ],",
    ...(own ? [`  actions=${listed(actions)},`] : []),
    ...(abstain === null ? [] : [`  abstain_cost=${written(abstain)},`]),
    ")",
    "",
  ].join("\n");
}

// Puts a text on the clipboard where that is allowed; returns whether it was.
async function copied(text, area) {
  area.hidden = false;
  area.value = text;
  try {
    if (framed) throw new Error("not allowed, and the attempt would be logged as a fault");
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    area.focus();
    area.select();
    try {
      return document.execCommand("copy");
    } catch {
      return false;
    }
  }
}
