// Arithmetic on w, the styles of all layers one after the other: Float32Array [num_layers * w_dim].

/** w with the layers of some ranges from a style [w_dim]. */
export function withStyle(w, ranges, style) {
  const changed = w.slice();
  for (const [first, end] of ranges)
    for (let layer = first; layer < end; layer++) changed.set(style, layer * style.length);
  return changed;
}

/** w' = average + psi (w - average) in the layers below cutoff (appendix B of the paper). average: [w_dim] */
export function truncated(w, average, psi, cutoff) {
  const size = average.length;
  if (psi === 1) return w;
  return w.map((value, i) => (i < cutoff * size ? average[i % size] + psi * (value - average[i % size]) : value));
}

/** w moved along directions in some layers. steps: [w_dim] each, of strength 1 */
export function moved(w, steps, strengths, layers) {
  const changed = w.slice();
  strengths.forEach((strength, number) => {
    const step = steps[number];
    if (strength) for (const layer of layers) step.forEach((x, i) => (changed[layer * step.length + i] += strength * x));
  });
  return changed;
}

/** Where a smooth curve is at t in [0, 1] between the second and the third of four w (Catmull-Rom). */
export function onCurve([a, b, c, d], t) {
  return b.map((_, i) => {
    const slope = (c[i] - a[i]) / 2, next = (d[i] - b[i]) / 2;
    const bend = 3 * (c[i] - b[i]) - 2 * slope - next, twist = 2 * (b[i] - c[i]) + slope + next;
    return b[i] + t * (slope + t * (bend + t * twist));
  });
}
