// Edit: a slider for each direction, and below it what the direction does to this picture.
import { calm, h, iconButton, isNear, showStrip, slider, whenSeen } from "./dom.js"
import { askPicture } from "./server.js"
import { toQuery } from "./state.js"

/** The names that this browser's user has given to a model's directions. */
export function namesOf(about) {
  try {
    return JSON.parse(localStorage.getItem(`stylegan-names-${about.fingerprint}`) ?? "{}")
  } catch {
    return {}
  }
}

export function edit(app) {
  const { state } = app
  const { about } = state
  const names = namesOf(about)
  const seen = new Set()
  const cards = about.directions.map((name) => card(name))
  const observer = whenSeen((element) => {
    seen.add(element)
    draw()
  })
  cards.forEach((each) => observer.observe(each.element))
  const ranges = Object.keys(about.ranges)
  const chips = ranges.map((range) => h("button", { type: "button", class: "chip", id: `on-${range}`, onclick: () => {
    const on = state.values.on.includes(range) ? state.values.on.filter((each) => each !== range) : [...state.values.on, range]
    state.set({ on: ranges.filter((each) => on.includes(each)) })
  } }, range))
  const none = h("button", { type: "button", id: "no-edits", onclick: () => state.set({ edit: {} }) }, "All to zero")
  const element = h("div", { class: "tab" },
    h("div", { class: "heading" }, h("h2", {}, "Directions"), none),
    ranges.length ? h("div", { class: "chips", role: "group", "aria-label": "styles that are edited" }, h("span", { class: "small" }, "in the styles"), ...chips) : null,
    ...cards.map((each) => each.element),
    h("p", { class: "hint" }, "In standard deviations of w. Names that you give stay in this browser; the tab Save writes them into a file of directions. A lock: edits of the others leave it alone."))

  function card(name) {
    const change = (live) => (strength) => state.set({ edit: { ...state.values.edit, [name]: strength } }, live)
    const control = slider({ id: `edit-${name}`, label: name, min: -6, max: 6, step: 0.1, value: state.values.edit[name] ?? 0, center: 0,
      moved: change(true), settled: change(false) })
    const title = h("input", { type: "text", class: "title", value: names[name] ?? name.replaceAll("_", " "), maxlength: 60,
      "aria-label": `name of ${name}`, title: "type a name of your own" })
    title.onchange = () => {
      names[name] = title.value.trim() || undefined
      title.value = names[name] ?? name.replaceAll("_", " ")
      localStorage.setItem(`stylegan-names-${about.fingerprint}`, JSON.stringify(names))
    }
    title.onkeydown = (event) => event.key === "Enter" && title.blur()
    control.querySelector(".name").replaceWith(title)
    const lock = iconButton("lock", `leave ${name} alone`, () => {
      const hold = state.values.hold.includes(name) ? state.values.hold.filter((each) => each !== name) : [...state.values.hold, name]
      state.set({ hold })
    }, { class: "icon lock" })
    control.querySelector("label").append(lock)
    const buttons = about.strengths.map((strength) => h("button", { type: "button", title: `${strength > 0 ? "+" : ""}${strength}`,
      "aria-label": `${name} to ${strength}`, onclick: () => change(false)(strength) }))
    const strip = h("div", { class: "strip", id: `strip-${name}` }, ...buttons)
    const element = h("div", { class: "card" }, control, strip)
    element.style.setProperty("--shape", `${about.width} / ${about.height}`)
    return { element, name, control, lock, buttons, drawn: "" }
  }

  const draw = calm(async () => {
    if (!element.isConnected) return
    for (const each of cards.filter((card) => seen.has(card.element))) {
      const key = toQuery({ ...state.values, edit: { ...state.values.edit, [each.name]: 0 } }, about)
      if (each.drawn === key || !isNear(each.element)) continue
      each.drawn = key
      try {
        const url = await askPicture(`strip?${key}&direction=${encodeURIComponent(each.name)}&side=72`)
        if (each.drawn === key) showStrip(each.buttons, url)
        else URL.revokeObjectURL(url)
      } catch (error) {
        each.drawn = ""
        return app.say(error)
      }
    }
  }, 250)

  return {
    element,
    update() {
      for (const each of cards) {
        each.control.set(state.values.edit[each.name] ?? 0)
        each.lock.setAttribute("aria-pressed", state.values.hold.includes(each.name))
      }
      chips.forEach((chip, i) => chip.setAttribute("aria-pressed", state.values.on.includes(ranges[i])))
      none.disabled = !Object.values(state.values.edit).some(Boolean)
      draw()
    },
  }
}
