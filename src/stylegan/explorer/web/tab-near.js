// Nearest: the training images that are nearest to the picture.
import { h } from "./dom.js"
import { askJson } from "./server.js"

export function near(app) {
  const found = h("div", { id: "near", class: "figures" })
  const find = h("button", { type: "button", class: "main", id: "compare", onclick: compare }, "Find them")

  async function compare() {
    find.disabled = true
    try {
      const images = await askJson(`nearest?${app.state.query}`)
      found.replaceChildren(...images.map(({ picture, text }) => h("figure", {}, h("img", { src: picture, alt: `training image ${text}` }), h("figcaption", {}, text))))
    } catch (error) {
      app.say(error)
    }
    find.disabled = false
  }

  return {
    element: h("div", { class: "tab" }, h("h2", {}, "The nearest training images"),
      h("p", { class: "hint" }, "Has the model learned it by heart? Each with its number and its distance: root mean square at 16 × 16, of 255; mirrored ones count."),
      find, found),
  }
}
