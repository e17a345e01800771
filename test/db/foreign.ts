/** A data set laid out in a folder as another tool leaves it, and imported. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { sniff } from '../../db/formats/registry.ts'
import type { ImportChoices } from '../../db/imports/plan.ts'
import type { FormatName } from '../../db/records/formatNames.ts'
import { boxesOf, importFrom, newProject } from '../support/formats.ts'
import { imageRow, tempFolder } from './support.ts'

export type Files = Record<string, string | Uint8Array>

export function lay(folder: string, files: Files): string {
  const root = join(folder, 'set')
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true })
    writeFileSync(join(root, name), content)
  }
  return root
}

/** `image class x,y,w,h caption` of every box, rounded to hundredths, and the sentences. */
export async function imported(
  format: FormatName,
  files: Files,
  images: string[],
  at = '',
  choices: Partial<ImportChoices> = {},
) {
  const folder = tempFolder(true)
  const path = join(lay(folder, files), at)
  expect(sniff(path).map((candidate) => candidate.format)[0]).toBe(format)
  const store = newProject(folder, 'p', { images: images.map((name, index) => imageRow(index + 1, name)) })
  const { plan } = await importFrom(store, format, path, choices)
  expect(plan.problems.first).toEqual([])
  const boxes = boxesOf(store).map(({ image, row, className }) => {
    const sides = row.bboxXywh.map((side) => Math.round(side * 100) / 100).join(',')
    return `${image} ${className} ${sides}${row.caption === null ? '' : ` ${row.caption}`}${row.status === 'accepted' ? '' : ` ${row.status} ${row.modelScore}`}`
  })
  const sentences = images.flatMap((_, index) => store.messages.list(index + 1))
  const rows = boxesOf(store).map(({ row }) => row)
  store.close()
  return { boxes, sentences, plan, rows }
}

/** A file of CVAT with one image. */
export const cvat = (inner: string, image = 'name="a.jpg" width="640" height="480"') =>
  `<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<image id="0" ${image}>\n${inner}\n</image>\n</annotations>`

/** A shape of LabelMe's, and its file. */
export const shape = (shape_type: string, points: number[][], more: object = {}) => ({
  label: 'cup',
  points,
  shape_type,
  ...more,
})

export const labelme = (shapes: object[], more: object = {}) =>
  JSON.stringify({
    version: '5.4.1',
    flags: { checked: true },
    shapes,
    imagePath: 'a.jpg',
    imageData: null,
    imageHeight: 480,
    imageWidth: 640,
    ...more,
  })
