// Elements, icons and the controls that several tabs use.

/** An element: h("button", {class: "plain", onclick: f, "aria-label": "undo"}, "text", otherElement). */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || (value === false && !key.startsWith("aria-"))) continue
    if (key.startsWith("aria-")) element.setAttribute(key, value)
    else if (key.startsWith("on") || key === "value" || key === "checked") element[key] = value
    else element.setAttribute(key, value === true ? "" : value)
  }
  element.append(...children.filter((child) => child !== null && child !== undefined))
  return element
}

const PATHS = {
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "m15 14 5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  star: "m12 3 2.7 5.8 6.3.8-4.6 4.4 1.2 6.3L12 17.2l-5.6 3.1 1.2-6.3L3 9.6l6.3-.8z",
  dice: "M5 3h14a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zM8.5 8.5h.01M15.5 15.5h.01M12 12h.01M15.5 8.5h.01M8.5 15.5h.01",
  play: "M7 4v16l13-8z",
  pause: "M8 5v14M16 5v14",
  split: "M12 2v20M4 6h4v12H4zM16 6h4v12h-4z",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  look: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  help: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .9-1 1.7M12 17h.01",
  large: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  left: "m15 5-7 7 7 7",
  right: "m9 5 7 7-7 7",
  lock: "M6 11h12v9H6zM9 11V7a3 3 0 0 1 6 0v4",
  close: "M6 6l12 12M18 6 6 18",
  seeds: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  mix: "M9 16a6 6 0 1 0 0-12 6 6 0 0 0 0 12zM15 20a6 6 0 1 0 0-12 6 6 0 0 0 0 12z",
  edit: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4v6M9 14v6",
  drag: "M6.5 20.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM9 15 19 5M12.5 4.5H19.5V11.5",
  layers: "m12 3 9 5-9 5-9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
  walk: "M4 19c3-9 6 3 9-5s4-8 7-9M4 19h.01M20 5h.01",
  photo: "M4 7h4l2-3h4l2 3h4v13H4zM12 17a4 4 0 1 0 0-8 4 4 0 0 0 0 8z",
  near: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM20 20l-5-5",
  run: "M3 20h18M5 16l4-6 4 3 6-9",
  save: "M12 3v12m0 0 5-5m-5 5-5-5M4 20h16",
}

export function icon(name) {
  const holder = document.createElement("span")
  holder.innerHTML =
    `<svg viewBox="0 0 24 24" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.7" ` +
    `stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${PATHS[name]}"/></svg>`
  return holder.firstChild
}

/** A button that is an icon, with its name for those who hear it, and a hint. */
export function iconButton(name, label, onclick, properties = {}) {
  return h("button", { class: "icon", type: "button", "aria-label": label, title: label, onclick, ...properties }, icon(name))
}

/**
 * A slider with a number beside it. `center` is where its bar begins, 0 for what goes both ways; a double click goes
 * back there. moved(value) is called while it moves, settled(value) when it has been let go.
 */
export function slider({ id, label, min, max, step = 0.01, value = 0, center = min, hint, moved, settled, disabled }) {
  const range = h("input", { type: "range", min, max, step, value, "aria-label": label, disabled })
  const number = h("input", { type: "number", min, max, step, value, "aria-label": `${label}, as a number`, disabled })
  const at = (x) => (100 * (Math.min(max, Math.max(min, x)) - min)) / (max - min)
  const show = (x) => {
    const [low, high] = [Math.min(x, center), Math.max(x, center)]
    range.style.setProperty("--low", `${at(low)}%`)
    range.style.setProperty("--high", `${at(high)}%`)
  }
  range.oninput = () => {
    number.value = range.value
    show(+range.value)
    moved?.(+range.value)
  }
  range.onchange = () => settled?.(+range.value)
  number.onchange = () => {
    if (number.value === "" || !Number.isFinite(+number.value)) number.value = range.value
    range.value = number.value
    show(+number.value)
    settled?.(+number.value)
  }
  range.ondblclick = () => {
    range.value = number.value = center
    show(center)
    settled?.(center)
  }
  const name = h("span", { class: "name" }, label)
  const element = h("div", { class: "slider", id }, h("label", {}, name, number), range, hint ? h("p", { class: "hint" }, hint) : null)
  if (center > min && center < max) range.style.setProperty("--center", `${at(center)}%`)
  show(value)
  element.set = (x) => {
    if (range.matches(":active")) return
    range.value = number.value = +(+x).toFixed(3)
    show(x)
  }
  return element
}

/** One of several: segmented({id, label, options: [["own", "its own"], ...], value, chosen}). */
export function segmented({ id, label, options, value, chosen }) {
  const buttons = options.map(([key, text]) =>
    h("button", { type: "button", role: "radio", "data-key": key, onclick: () => (element.set(key), chosen(key)) }, text)
  )
  const element = h("div", { class: "segmented", id, role: "radiogroup", "aria-label": label }, ...buttons)
  element.set = (key) => buttons.forEach((button) => button.setAttribute("aria-checked", button.dataset.key === key))
  element.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length]
    next.focus()
    next.click()
    event.preventDefault()
    event.stopPropagation()
  }
  element.set(value)
  return element
}

/** Show another picture, an address of `askPicture`, in an image; the one before is given back. */
export function showPicture(image, url) {
  if (image.src) URL.revokeObjectURL(image.src)
  image.src = url
}

/** Show a strip of pictures, an address of `askPicture`, one in each element; the strip before is given back. */
export function showStrip(elements, url) {
  const last = elements.length - 1
  giveBack(elements)
  elements.forEach((each, i) => {
    each.strip = url
    each.style.backgroundImage = `url(${url})`
    each.style.backgroundSize = `${100 * elements.length}% 100%`
    each.style.backgroundPosition = `${last ? (100 * i) / last : 0}% 0`
  })
}

/** Give back the strips that elements show. */
export function giveBack(elements) {
  for (const url of new Set(Array.from(elements, (each) => each.strip))) if (url) URL.revokeObjectURL(url)
}

/** Whether an element is in the window, or nearly. */
export function isNear(element) {
  const box = element.getBoundingClientRect()
  return box.top < innerHeight + 200 && box.bottom > -200
}

/** Call f once it has not been asked for `pause` milliseconds. */
export function calm(f, pause) {
  let timer
  return (...values) => {
    clearTimeout(timer)
    timer = setTimeout(() => f(...values), pause)
  }
}

/** Call f(element) each time one of the elements comes into sight. */
export function whenSeen(f) {
  return new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => f(entry.target)),
    { rootMargin: "120px" }
  )
}
