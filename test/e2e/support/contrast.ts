/** Contrast of text as the browser shows it, for the tests; the tests are compiled without the browser's types. */

/**
 * An expression for the page: the words that stand apart from their ground by less than 4.5:1, with the ratio. What cannot
 * be used now may be weaker; the canvas paints its own words.
 */
export const WEAK_WORDS = `(() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number)
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(at).backgroundColor)
      if (r !== undefined && alpha > 0.95) return [r, g, b]
    }
    return [255, 255, 255]
  }
  const weak = []
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join('')
    if (words === '' || element.offsetParent === null || element.closest('.canvas-host, .hidden-text, :disabled')) continue
    let opacity = 1
    for (let at = element; at !== null; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity)
    const behind = ground(element)
    const colour = numbers(getComputedStyle(element).color).slice(0, 3).map((value, i) => value * opacity + behind[i] * (1 - opacity))
    const [low, high] = [luminance(colour), luminance(behind)].sort((a, b) => a - b)
    const ratio = (high + 0.05) / (low + 0.05)
    if (ratio < 4.5) weak.push(words + ' ' + ratio.toFixed(2))
  }
  return weak
})()`
