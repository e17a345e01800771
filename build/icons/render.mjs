/** Draws icon.png from icon.svg: `node build/icons/render.mjs`, after the drawing has changed. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'

const folder = import.meta.dirname
const size = 512
// Rendered at twice the size and reduced: the SVG renderer's own edges are harder.
const { size: bytes } = await sharp(readFileSync(join(folder, 'icon.svg')), { density: 144 })
  .resize(size, size)
  .png({ compressionLevel: 9, palette: false })
  .toFile(join(folder, 'icon.png'))
console.log(`icon.png: ${size} x ${size}, ${bytes} bytes`)
