// Seeds: a wall to pick from; class, truncated layers.
import { h, slider } from "./dom.js"
import { wall } from "./wall.js"

export function seeds(app) {
  const { state } = app
  const { about } = state
  const classes = h("select", { id: "class", "aria-label": "class" }, ...about.classes.map((name, i) => h("option", { value: i }, name)))
  classes.onchange = () => state.set({ class: +classes.value })
  const layers = about.layers.length
  const cutoff = slider({ id: "cutoff", label: "Truncated layers, from the coarsest", min: 0, max: layers, step: 1, value: state.values.cutoff,
    moved: (cutoff) => state.set({ cutoff }, true), settled: (cutoff) => state.set({ cutoff }) })
  const from = h("input", { type: "number", min: 0, max: 4294967000, step: 1, value: 0, id: "wall-from", "aria-label": "first seed of the wall" })
  const seedsWall = wall(app, { label: "seeds", chosen: () => (state.values.found ? -1 : state.values.seed),
    picked: (seed, event) => (event.shiftKey ? state.set({ b: seed }) : app.stage.toSeed(seed)) })
  from.onchange = () => seedsWall.begin(Math.min(4294967000, Math.max(0, Math.round(+from.value || 0))))
  const element = h("div", { class: "tab" },
    about.classes.length ? h("label", { class: "row" }, "Class", classes) : null,
    h("div", { class: "heading" }, h("h2", {}, "Wall of seeds"), h("label", { class: "small" }, "from", from)),
    seedsWall,
    about.has_styles ? h("details", { class: "more" }, h("summary", {}, "Truncation"), cutoff,
      h("p", { class: "hint" }, "ψ pulls each w towards the average of all: 1 is full variety, 0 the average, below 0 its opposite.")) : null)
  return {
    element,
    update() {
      classes.value = state.values.class
      cutoff.set(state.values.cutoff)
      seedsWall.update()
    },
  }
}
