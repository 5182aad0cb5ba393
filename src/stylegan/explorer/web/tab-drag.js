// Drag: points of the picture are drawn to where they should be, step by step, while one looks.
import { h, iconButton, segmented, slider } from "./dom.js"
import { film as newFilm } from "./film.js"
import { Points } from "./points.js"
import { ask, lines, saveAs, Sentence } from "./server.js"

const HINTS = {
  points: "Click what should move, then where it should go; or press, drag and let go. Both ends can be moved afterwards.",
  paint: "Paint what may change; all else stays nearly as it is. Without a mask everything may change.",
  erase: "Take away what was painted.",
}
const SOME = 200 // states whose points come back with undo

/** Pixels from a point to its target. */
const far = ({ x, y, to }) => Math.hypot(to.x - x, to.y - y)

export function drag(app) {
  const { state, stage } = app
  const { about } = state
  const points = new Points({ width: about.width, height: about.height, changed: () => (note(), show()),
    full: (most) => app.say(new Sentence(`${most} points are dragged at most; take one away, or drag these first and press Keep`)) })
  const gone = new AbortController() // this tab, with its model
  const known = new Map() // by the picture's address: the points, and the ways that led there from `first`
  let now = { first: "", ways: [] } // first: the picture that Reset goes back to
  let running = null
  let filming = false
  let own = false // whether this tab changes the picture

  const hint = h("p", { class: "hint" }, HINTS.points)
  const brush = slider({ id: "brush", label: "Size of the brush", min: 1, max: Math.max(2, Math.round(about.width / 3)), step: 0.5, value: points.brush,
    moved: (size) => (points.brush = size), settled: (size) => (points.brush = Math.max(0.5, size)) })
  const modes = segmented({ id: "drag-mode", label: "what the pointer does", options: [["points", "Points"], ["paint", "Paint"], ["erase", "Erase"]], value: "points",
    chosen: (mode) => (points.setMode(mode), show()) })
  const start = h("button", { type: "button", class: "main", id: "drag", onclick: () => (running ? halt() : go()) }, "Start")
  const reset = h("button", { type: "button", id: "drag-reset", onclick: back, title: "back to the picture before the first step" }, "Reset")
  const keep = h("button", { type: "button", id: "drag-keep", onclick: settle, title: "go on from this picture: points and mask are taken away" }, "Keep")
  const noPoints = h("button", { type: "button", id: "no-points", onclick: () => (points.set([]), note(), show()) }, "Clear points")
  const noMask = h("button", { type: "button", id: "no-mask", onclick: () => points.clearMask() }, "Clear mask")
  const progress = h("progress", { max: 1, value: 0, "aria-label": "steps made" })
  const says = h("p", { id: "dragged", class: "hint" })
  const list = h("ol", { class: "pairs", "aria-label": "points" })
  const wanted = { steps: 200, firmness: 9, rate: 0.1 }
  const option = (name, label, min, max, step) => slider({ id: `drag-${name}`, label, min, max, step, value: wanted[name], center: wanted[name],
    moved: (value) => (wanted[name] = value), settled: (value) => (wanted[name] = value) })
  const film = newFilm({ id: "drag-film", name: "drag.mp4" })
  const make = h("button", { type: "button", id: "drag-video", onclick: video }, "Video of the way")
  const file = h("button", { type: "button", id: "save-points", onclick: save, title: "for stylegan drag MODEL FILE" }, "Points as a file")
  const element = h("div", { class: "tab" },
    h("div", { class: "heading" }, h("h2", {}, "Drag points"), modes), hint, brush,
    h("div", { class: "row" }, start, reset, keep), progress, says, list, h("div", { class: "row" }, noPoints, noMask),
    h("details", { class: "more" }, h("summary", {}, "How it is dragged"),
      option("steps", "Steps at most", 10, 1000, 10), option("firmness", "How firmly the rest stays, with a mask", 0, 50, 0.5), option("rate", "Length of a step", 0.01, 0.5, 0.01)),
    h("div", { class: "row" }, make, file, film.link),
    about.films ? null : h("p", { class: "hint" }, "Videos need imageio-ffmpeg where the server runs: pip install 'stylegan[video]'."), film.video)

  // --- dragging

  async function go() {
    if (!points.whole.length) return app.say(new Sentence("there is nothing to drag yet; click in the picture what should move, then where it should go"))
    app.walker.stop()
    app.say("")
    const asked = state.query
    if (!now.first) now = { first: asked, ways: [] }
    remember()
    const pairs = points.whole
    points.set(pairs)
    const body = JSON.stringify({ points: pairs.map(({ x, y, to }) => [x, y, to.x, to.y]), mask: points.mask, ...wanted, steps: Math.round(wanted.steps) })
    const mine = (running = { stop: new AbortController(), name: "" })
    says.textContent = "looking at the points"
    says.removeAttribute("aria-live")
    progress.value = 0
    show()
    let again = false
    try {
      for await (const line of lines(`drag?${asked}`, { method: "POST", body, signal: mine.stop.signal })) {
        if (mine.stop.signal.aborted) break
        if (line.drag) mine.name = line.drag
        if (mine.wantsHalt) halt()
        if (line.points) await step(line, pairs, mine)
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        says.textContent = ""
        points.set(known.get(asked).pairs)
        await stage.ask() // back to what the address says
        again = await app.recover(error)
      }
    } finally {
      if (running === mine) running = null
      show()
    }
    if (again) go()
  }

  /** A step: the picture, where the points are now, how far they have to go; the last one is the picture from now on. */
  async function step(line, pairs, mine) {
    line.points.forEach(([x, y], i) => Object.assign(pairs[i], { x, y }))
    const left = Math.max(...pairs.map(far))
    progress.value = line.found ? 1 : line.step / line.of
    if (line.picture) {
      await stage.show(line.picture, "dragging", "")
      if (mine.stop.signal.aborted) return // the picture is another one by now
      points.set(pairs)
      listed()
    }
    if (!line.found) {
      says.textContent = `step ${line.step} of ${line.of} · ${left.toFixed(1)} pixels to go`
      return
    }
    running = null
    note()
    change({ found: line.found, along: 0, mix: [0, 0, 0], layers: [], edit: {} })
    now.ways = [...now.ways, line.way]
    remember()
    app.keepFound(line.found)
    says.setAttribute("aria-live", "polite")
    says.textContent = line.arrived ? `arrived after ${line.step} steps` : `${left.toFixed(1)} pixels to go after ${line.step} steps; Start goes on`
  }

  /** End with the step that the server is at. */
  function halt() {
    if (!running) return
    if (!running.name) return (running.wantsHalt = true)
    running.wantsHalt = false
    ask(`halt?drag=${running.name}`, { method: "POST" }).catch((error) => app.say(error))
  }

  function change(values) {
    own = true
    state.set(values)
    own = false
  }

  const remember = () => {
    known.delete(state.query)
    known.set(state.query, structuredClone({ pairs: points.pairs, first: now.first, ways: now.ways, values: state.values }))
    if (known.size > SOME) known.delete(known.keys().next().value)
  }

  /** Put the points and the mask into the address. */
  function note() {
    const { text, maskText } = points
    if (state.view.points !== text || state.view.mask !== maskText) state.see({ points: text, mask: maskText })
  }

  /** Drag no further, and keep nothing of it. */
  function leave() {
    running?.stop.abort()
    running = null
  }

  /** The picture is another one: what is dragged is not it any more, and points that belong to it come back. */
  function follow() {
    if (own) return
    leave()
    const { pairs, first, ways } = known.get(state.query) ?? { first: "", ways: [] }
    now = { first, ways }
    if (pairs) points.set(pairs)
    note()
    says.textContent = ""
    progress.value = 0
    film.forget()
    if (element.isConnected) show()
  }
  state.addEventListener("change", follow, { signal: gone.signal })

  function back() {
    const before = known.get(now.first)
    if (before) state.set(structuredClone(before.values))
  }

  function settle() {
    now = { first: "", ways: [] }
    points.set([])
    points.clearMask()
    says.textContent = "The other tabs go on from here; undo brings back what was before."
    remember()
    show()
  }

  // --- files

  async function video() {
    filming = true
    show()
    try {
      await film.make(`film?${state.query}&ways=${now.ways.join(",")}`, (share) => (progress.value = share))
    } catch (error) {
      app.say(error)
    }
    filming = false
    show()
  }

  function save() {
    const content = { kind: "stylegan-drag", format_version: 1, points: points.whole.map(({ x, y, to }) => [x, y, to.x, to.y]), mask: points.mask }
    saveAs(new Blob([JSON.stringify(content)], { type: "application/json" }), "drag.json")
  }

  // --- what is seen

  function listed() {
    list.replaceChildren(...points.pairs.map((pair, i) => {
      const from = `${pair.x}, ${pair.y}`
      const text = pair.to ? `${from} → ${pair.to.x}, ${pair.to.y}` : `${from} → click where it should go`
      return h("li", {}, h("span", { class: "where" }, text), pair.to ? h("span", { class: "small" }, `${far(pair).toFixed(1)} px`) : null,
        iconButton("close", `remove point ${i + 1}`, () => points.remove(i), { disabled: Boolean(running) }))
    }))
  }

  function show() {
    const busy = Boolean(running)
    points.lock(busy)
    start.textContent = busy ? "Stop" : "Start"
    reset.disabled = busy || !now.first || now.first === state.query
    keep.disabled = busy || !now.ways.length
    noPoints.disabled = busy || !points.pairs.length
    noMask.disabled = busy || !points.hasMask
    make.disabled = busy || filming || !about.films || !now.ways.length
    file.disabled = !points.whole.length
    hint.textContent = HINTS[points.mode]
    brush.hidden = points.mode === "points"
    listed()
  }

  points.setMode("points")
  return {
    element,
    update() {
      if (stage.laid !== points.element) {
        stage.lay(points.element)
        points.show() // arrows depend on how large it is
      }
      if (!running && state.view.points !== points.text) {
        points.read(state.view.points) // the address is a new one
        note()
      }
      if (!running && state.view.mask !== points.maskText) {
        points.readMask(state.view.mask)
        note()
      }
      show()
    },
    hide() {
      points.letGo?.()
      stage.lay(null)
      halt()
    },
    close() {
      stage.lay(null)
      leave()
      film.forget()
      gone.abort()
    },
  }
}
