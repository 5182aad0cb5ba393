// Walk: without an end, in the picture; or a video to seeds of one's choice.
import { h, segmented, slider } from "./dom.js"
import { film as newFilm } from "./film.js"

export function walk(app) {
  const { state, walker } = app
  const along = slider({ id: "along", label: "Along the walk, in seeds", min: 0, max: 20, step: 0.01, value: state.values.along,
    moved: (along) => state.set({ along }, true), settled: (along) => state.set({ along: Math.max(0, along) }) })
  const pace = slider({ id: "pace", label: "Seconds from seed to seed", min: 0.5, max: 20, step: 0.5, value: walker.seconds,
    moved: (seconds) => (walker.seconds = seconds), settled: (seconds) => (walker.seconds = Math.max(0.1, seconds)) })
  const seeds = h("input", { type: "text", id: "walk-seeds", value: "1, 2, 3", "aria-label": "seeds to go to" })
  let route = "cubic"
  const routes = segmented({ id: "route", label: "route", options: [["cubic", "and back, smoothly"], ["linear", "to the last one"]], value: route,
    chosen: (key) => (route = key) })
  let length = 8
  const seconds = slider({ id: "seconds", label: "Seconds", min: 1, max: 30, step: 1, value: length, settled: (value) => (length = value), moved: (value) => (length = value) })
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "frames drawn" })
  const film = newFilm({ id: "film", name: "walk.mp4" })
  const make = h("button", { type: "button", class: "main", id: "walk", onclick: video }, "Make the video")

  async function video() {
    make.disabled = true
    progress.hidden = false
    try {
      const query = new URLSearchParams(state.query)
      for (const [name, value] of Object.entries({ seeds: seeds.value, route, seconds: Math.round(length) })) query.set(name, value)
      await film.make(`walk?${query}`, (share) => (progress.value = share))
    } catch (error) {
      app.say(error)
    }
    make.disabled = false
    progress.hidden = true
  }

  return {
    element: h("div", { class: "tab" },
      h("div", { class: "heading" }, h("h2", {}, "Endless walk"),
        h("button", { type: "button", id: "walk-home", onclick: () => (walker.stop(), state.set({ along: 0 })) }, "Back to the seed")),
      h("p", { class: "hint" }, "The space bar, or the triangle below the picture, starts and stops it. Mixed styles and edits stay as they are; where it stops can be shared."),
      along, pace,
      h("h2", {}, "Video"), h("label", { class: "row" }, "Seeds to go to", seeds), h("div", { class: "row" }, h("span", {}, "Route"), routes), seconds,
      h("div", { class: "row" }, make, film.link), progress, film.video),
    update() {
      along.set(state.values.along)
    },
    close() {
      film.forget()
    },
  }
}
