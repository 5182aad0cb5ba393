// Layers: what each holds, how much of B's style and how much noise it gets.
import { calm, giveBack, h, iconButton, isNear, segmented, showPicture, showStrip, slider, whenSeen } from "./dom.js"
import { askPicture } from "./server.js"

const NOISES = [["own", "its own"], ["seed", "of a seed"], ["const", "network's"], ["none", "none"]]

export function layers(app) {
  const { state } = app
  const { about } = state
  const source = segmented({ id: "noise", label: "noise", options: NOISES, value: state.values.noise, chosen: (noise) => state.set({ noise }) })
  const seed = h("input", { id: "noise-seed", type: "number", min: 0, max: 4294967295, step: 1, "aria-label": "seed of the noise" })
  seed.onchange = () => state.set({ nseed: Math.min(4294967295, Math.max(0, Math.round(+seed.value || 0))), noise: "seed" })
  const rows = about.layers.map((size, i) => row(size, i))
  const observer = whenSeen(() => draw())
  rows.forEach((each) => observer.observe(each.element))
  const reset = h("button", { type: "button", id: "layers-reset", onclick: () => state.set({ layers: [], noises: [] }) }, "As it was")
  const element = h("div", { class: "tab" },
    about.has_noise ? h("div", { class: "row" }, h("span", {}, "Noise"), source, seed) : null,
    h("div", { class: "heading" }, h("h2", {}, "Layer by layer"), reset),
    h("p", { class: "hint" }, "First how strongly the layer answers where, then the maps that vary most; a click shows more of them."),
    ...rows.map((each) => each.element))

  function shares() {
    if (state.values.layers.length) return [...state.values.layers, ...about.layers.map(() => 0)].slice(0, about.layers.length)
    const all = about.layers.map(() => 0)
    Object.values(about.ranges).forEach((range, i) => range.forEach((layer) => layer < all.length && (all[layer] = state.values.mix[i])))
    return all
  }
  function noises() {
    return [...state.values.noises, ...about.layers.map(() => 1)].slice(0, about.layers.length)
  }

  function row(size, i) {
    const change = (of, name, live) => (value) => {
      const all = of()
      all[i] = value
      state.set({ [name]: all }, live)
    }
    const style = about.has_styles && slider({ id: `style-${i}`, label: `B's style`, min: 0, max: 1, value: 0,
      moved: change(shares, "layers", true), settled: change(shares, "layers", false) })
    const noise = about.has_noise && slider({ id: `noise-${i}`, label: "Noise", min: 0, max: 3, value: 1, center: 1,
      moved: change(noises, "noises", true), settled: change(noises, "noises", false) })
    const maps = h("img", { alt: `maps of layer ${i}`, class: "maps" })
    const button = h("button", { type: "button", class: "plain", id: `maps-${i}`, "aria-label": `more maps of layer ${i}`, onclick: () => more(i) }, maps)
    const element = h("div", { class: "card layer" }, h("div", { class: "heading" }, h("h3", {}, `${size} × ${size}`), h("span", { class: "small" }, `layer ${i}`)),
      button, h("div", { class: "two" }, style || null, noise || null))
    return { element, style, noise, maps, i, drawn: "" }
  }

  const draw = calm(async () => {
    if (!element.isConnected) return
    for (const each of rows) {
      const query = state.query
      if (each.drawn === query || !isNear(each.element)) continue
      each.drawn = query
      try {
        const url = await askPicture(`layer?${query}&layer=${each.i}&count=7&side=64`)
        if (each.drawn === query) showPicture(each.maps, url)
        else URL.revokeObjectURL(url)
      } catch (error) {
        each.drawn = ""
        return app.say(error)
      }
    }
  }, 150)

  async function more(i) {
    const sheet = h("div", { class: "sheet" })
    const dialog = h("dialog", { class: "inside", "aria-label": `maps of layer ${i}` },
      h("div", { class: "heading" }, h("h2", {}, `Layer ${i}, ${about.layers[i]} × ${about.layers[i]}: the maps that vary most`),
        iconButton("close", "close", () => dialog.close())), sheet)
    dialog.onclose = () => (giveBack(sheet.children), dialog.remove())
    app.shadowRoot.append(dialog)
    dialog.showModal()
    try {
      const url = await askPicture(`layer?${state.query}&layer=${i}&count=31&side=96`)
      const strip = h("img", { src: url })
      await strip.decode()
      const count = Math.round(strip.naturalWidth / strip.naturalHeight)
      const titles = Array.from({ length: count }, (_, each) => (each ? `map ${each} by variation` : "root mean square of all"))
      sheet.replaceChildren(...titles.map((title) => h("div", { class: "map", title })))
      showStrip([...sheet.children], url)
    } catch (error) {
      app.say(error)
    }
  }

  return {
    element,
    update() {
      source.set(state.values.noise)
      seed.value = state.values.nseed
      seed.hidden = state.values.noise !== "seed"
      const [styles, strengths] = [shares(), noises()]
      for (const each of rows) {
        each.style && each.style.set(styles[each.i])
        each.noise && each.noise.set(strengths[each.i])
      }
      reset.disabled = !state.values.layers.length && !state.values.noises.length
      draw()
    },
  }
}
