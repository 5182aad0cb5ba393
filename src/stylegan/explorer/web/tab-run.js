// Models: others to switch to; a run's history in pictures; its report.
import { h, showPicture, whenSeen } from "./dom.js"
import { askPicture } from "./server.js"

export function run(app) {
  const { state } = app
  const { about } = state
  const here = app.models.find((model) => model.key === about.key)
  const history = here?.run ? app.models.filter((model) => model.group === here.group) : []
  const others = app.models.filter((model) => !history.includes(model))
  const cards = [...history, ...others].map((model) => card(model))
  const draw = (element) => {
    const each = cards.find((card) => card.element === element)
    const query = new URLSearchParams(state.query)
    query.set("model", each.model.key)
    if (each.model.key !== about.key) query.delete("found")
    if (each.drawn === query.toString()) return
    each.drawn = query.toString()
    askPicture(`picture?${query}&side=128`).then((url) => showPicture(each.image, url), () => element.classList.add("gone"))
  }
  const observer = whenSeen(draw)

  function card(model) {
    const image = h("img", { alt: "", loading: "lazy" })
    const element = h("button", { type: "button", class: "model", "data-model": model.key, "aria-pressed": model.key === about.key, onclick: () => app.toModel(model.key) },
      image, h("span", { class: "title" }, model.title), h("span", { class: "small" }, model.score || (model.run ? "" : model.group)))
    return { element, image, model, drawn: "" }
  }

  const part = (models) => h("div", { class: "models" }, ...cards.filter((each) => models.includes(each.model)).map((each) => each.element))
  const report = about.report && `explorer/report?model=${encodeURIComponent(about.key)}`
  const element = h("div", { class: "tab" },
    history.length ? h("h2", {}, `History of ${here.group}`) : null,
    history.length ? h("p", { class: "hint" }, "This picture by each model that the run has kept, with its score where it was measured.") : null,
    history.length ? part(history) : null,
    others.length ? h("h2", {}, history.length ? "Other models" : "Models") : null,
    others.length ? part(others) : null,
    report ? h("div", { class: "heading" }, h("h2", {}, "Report of the run"), h("a", { href: report, target: "_blank", rel: "noopener" }, "In a window of its own")) : null,
    report ? h("iframe", { id: "report", src: report, title: "report of the run", loading: "lazy", sandbox: "allow-scripts" }) : null)
  return {
    element,
    update() {
      observer.disconnect()
      cards.forEach((each) => observer.observe(each.element))
    },
  }
}
