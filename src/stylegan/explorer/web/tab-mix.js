// Mix: how much of a second seed's styles is in the picture.
import { calm, h, iconButton, showPicture, slider } from "./dom.js"
import { askPicture } from "./server.js"
import { toQuery } from "./state.js"
import { wall } from "./wall.js"

const SAYS = { coarse: "pose, shape of the head", middle: "features, hair", fine: "colors, light" }

export function mix(app) {
  const { state } = app
  const { about } = state
  const ranges = Object.entries(about.ranges)
  if (!ranges.length) {
    return { element: h("div", { class: "tab" }, h("p", { class: "hint" }, "This generator has no styles to mix, or too few layers to tell coarse from fine.")) }
  }
  const b = h("input", { id: "other-seed", type: "number", min: 0, max: 4294967295, step: 1, "aria-label": "seed of B" })
  const to = (seed) => state.set({ b: Math.min(4294967295, Math.max(0, Math.round(seed) || 0)) })
  b.onchange = () => to(+b.value)
  const pictures = { a: h("img", { alt: "A, as it is" }), b: h("img", { alt: "B, as it is" }) }
  const sliders = ranges.map(([name, layers], i) => {
    const sizes = [about.layers[layers[0]], about.layers[layers.at(-1)]]
    const change = (live) => (share) => {
      const mix = [...state.values.mix]
      mix[i] = share
      state.set({ mix, layers: [] }, live)
    }
    const label = `${name[0].toUpperCase()}${name.slice(1)}, ${sizes[0] === sizes[1] ? sizes[0] : sizes.join(" – ")}`
    return slider({ id: name, label, min: 0, max: 1, value: state.values.mix[i], hint: SAYS[name], moved: change(true), settled: change(false) })
  })
  const others = h("p", { class: "hint" }, "The layers are mixed one by one (tab Layers); a slider here takes over.")
  const bWall = wall(app, { label: "seeds for B", chosen: () => state.values.b, picked: to })
  const element = h("div", { class: "tab" },
    h("div", { class: "pair" },
      h("figure", {}, pictures.a, h("figcaption", {}, "A")),
      h("div", { class: "arrow" }, "+"),
      h("figure", {}, pictures.b, h("figcaption", {}, "B")),
      h("div", { class: "stepper" }, iconButton("left", "seed of B before", () => to(state.values.b - 1)), b,
        iconButton("right", "next seed of B", () => to(state.values.b + 1)),
        iconButton("dice", "a random seed for B", () => to(Math.floor(Math.random() * 100_000))))),
    h("h2", {}, "How much of B is in A"), others, ...sliders, h("h2", {}, "Seeds for B"), bWall)
  element.style.setProperty("--shape", `${about.width} / ${about.height}`)

  const show = async (image, query) => {
    if (image.dataset.address === query) return
    image.dataset.address = query
    try {
      const url = await askPicture(`picture?${query}&side=128`)
      if (image.dataset.address === query) showPicture(image, url)
      else URL.revokeObjectURL(url)
    } catch (error) {
      app.say(error)
    }
  }
  const draw = calm(() => {
    const plain = { ...state.values, mix: [0, 0, 0], layers: [], edit: {} }
    show(pictures.a, toQuery(plain, about))
    show(pictures.b, toQuery({ ...plain, seed: plain.b, found: "", along: 0 }, about))
  }, 60)
  return {
    element,
    update() {
      b.value = state.values.b
      sliders.forEach((each, i) => each.set(state.values.mix[i]))
      others.hidden = !state.values.layers.length
      draw()
      bWall.update()
    },
  }
}
