// Decisions by expected cost, as pipeline/costs.py and the artifact make them. cost[true label][action].

const PADDING = 1e30; // every real cost is below

const isCost = (value) => value >= 0 && value < PADDING;

// Numbers of a type, little-endian, from base64.
function decoded(text, Numbers) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Numbers(bytes.buffer);
}

// Decide for each row: argmin_a Σ_k p_k·cost[k][a], ties to the lowest index.
// Returns the actions, and what each is expected to cost.
function decided(probabilities, rows, cost) {
  const K = cost.length;
  const A = cost[0].length;
  const flat = Float64Array.from(cost.flat());
  const sums = new Float64Array(A);
  const actions = new Int32Array(rows);
  const expected = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < K; k++) {
      const p = probabilities[row * K + k];
      for (let a = 0, at = k * A; a < A; a++, at++) sums[a] += p * flat[at];
    }
    let best = 0;
    for (let a = 1; a < A; a++) if (sums[a] < sums[best]) best = a;
    actions[row] = best;
    expected[row] = sums[best];
  }
  return { actions, expected };
}

// cost[true label][action] of each row.
function paid(truths, actions, cost) {
  const costs = new Float64Array(actions.length);
  for (let row = 0; row < costs.length; row++) costs[row] = cost[truths[row]][actions[row]];
  return costs;
}

// Mean and its standard error, NaN of less than two.
function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  const middle = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - middle) ** 2;
  return { mean: middle, error: Math.sqrt(squares / (values.length - 1) / values.length) };
}

// How often each action was decided for each true label.
function counted(truths, actions, K, A) {
  const counts = Array.from({ length: K }, () => new Int32Array(A));
  for (let row = 0; row < actions.length; row++) counts[truths[row]][actions[row]]++;
  return counts;
}

// The one action that costs least where labels are as frequent as in training; ties to the lowest index.
function constant(shares, cost) {
  let [best, least] = [0, Infinity];
  for (let a = 0; a < cost[0].length; a++) {
    const costs = shares.reduce((sum, share, k) => sum + share * cost[k][a], 0);
    if (costs < least) [best, least] = [a, costs];
  }
  return best;
}

// Steps from each true label to each other one, on a ring the shorter way, as Topology.offsets has them.
function offset(from, to, K, ring) {
  const way = to - from;
  if (!ring) return way;
  const half = K / 2;
  return half - ((((half - way) % K) + K) % K);
}
