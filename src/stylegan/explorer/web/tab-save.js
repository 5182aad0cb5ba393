// Save: the picture, its latents, favorites, and directions by the names that were given to them.
import { h } from "./dom.js"
import { download } from "./server.js"
import { namesOf } from "./tab-edit.js"

export function save(app) {
  const { state } = app
  const { about } = state
  const fetchFile = (path, options) => () => download(path(), options?.()).catch((error) => app.say(error))
  const file = h("input", { type: "file", accept: ".json", id: "open-favorites", hidden: true })
  file.onchange = () => file.files[0] && app.favorites.open(file.files[0])
  const row = (title, text, ...buttons) => h("div", { class: "card" }, h("h3", {}, title), h("p", { class: "hint" }, text), h("div", { class: "row" }, ...buttons))
  const button = (id, text, onclick) => h("button", { type: "button", id, onclick }, text)
  return {
    element: h("div", { class: "tab" },
      h("h2", {}, "Save"),
      row("Picture", `PNG, ${about.width} × ${about.height}, pixel by pixel. It says how it was made: stylegan info FILE.`,
        button("save-picture", "Picture", fetchFile(() => `save?${state.query}`))),
      row("Latents", "Its w for each layer, and its noise: for the tab Photo, stylegan generate --latents FILE, edit and video.",
        button("save-latents", "Latents", fetchFile(() => `save?what=latents&${state.query}`))),
      row("Directions", "The directions of the tab Edit by the names that you gave them, for stylegan edit and explore --directions FILE.",
        button("save-directions", "Directions", fetchFile(() => `named?model=${encodeURIComponent(about.key)}`, () => ({ method: "POST", body: JSON.stringify(namesOf(about)) })))),
      row("Favorites", about.kept_favorites ? "They are in the server's file, and all who use this page share them." : "They are in this browser; a file keeps them elsewhere.",
        button("save-favorites", "Favorites", () => app.favorites.save()), button("add-favorites", "Add those of a file", () => file.click()), file),
      row("Address", "The address of this page holds all that is set.", button("copy-address", "Copy", () => app.share()))),
  }
}
