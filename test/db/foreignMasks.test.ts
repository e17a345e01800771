/** Masks and polygons as the labelling tools really write them: Label Studio, CVAT, LabelMe. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fittingSegmentation, pairsOf, readSegmentation } from '../../db/formats/boxes.ts'
import { readBrush } from '../../db/formats/labelStudioBrush.ts'
import { boxesOf, importFrom, newProject } from '../support/formats.ts'
import { cvat, imported, labelme, shape } from './foreign.ts'
import { imageRow, tempFolder } from './support.ts'

/** Written by Label Studio's own converter: two overlapping blocks on 16 x 12, and a random mask of 9 x 7. */
const BRUSHES = {
  blocks:
    '0,0,3,0,57,27,254,199,0,191,255,139,192,47,255,226,240,12,63,255,135,192,48,255,254,39,0,194,255,248,156,3,11,255,237,112,0',
  random:
    '0,0,0,252,57,27,252,255,241,128,71,255,56,4,127,241,128,71,255,24,4,255,241,128,71,255,133,192,35,255,156,2,255,252,224,19,255,198,1,127,254,48,8,255,231,0,183,255,24,5,255,248,192,45,255,198,1,31,252,224,22,255,237,128,71,254',
  pixels: '110100101011010000001001111001101111010011101111011101001110001',
}
const bytesOf = (text: string) => text.split(',').map(Number)

test('a brush of Label Studio is its mask', async () => {
  const random = readBrush(bytesOf(BRUSHES.random), 63)
  expect([...(random ?? [])].join('')).toBe(BRUSHES.pixels)
  expect(readBrush(bytesOf(BRUSHES.random).slice(0, -9), 63)).toBeNull()
  expect(readBrush(bytesOf(BRUSHES.random), 64)).toBeNull()
  const size = { original_width: 16, original_height: 12 }
  const value = { format: 'rle', rle: bytesOf(BRUSHES.blocks), brushlabels: ['cup'] }
  const task = { id: 1, data: { image: 'a.jpg' }, annotations: [{ result: [{ ...size, type: 'brushlabels', value }] }] }
  const folder = tempFolder(true)
  const store = newProject(folder, 'p', { images: [imageRow(1, 'a.jpg', { width: 16, height: 12 })] })
  writeFileSync(join(folder, 'x.json'), JSON.stringify([task]))
  await importFrom(store, 'label-studio', join(folder, 'x.json'))
  const [box] = boxesOf(store)
  expect(box?.row.bboxXywh).toEqual([2, 3, 8, 6])
  expect(readSegmentation(box?.row.extras?.segmentation)).toMatchObject({ bbox: [2, 3, 8, 6] })
  store.close()
})

test('a mask of CVAT is the same pixels as run lengths', async () => {
  const mask = cvat('<mask label="cup" rle="1, 2, 1, 2" left="10" top="20" width="3" height="2"/>')
  const { rows } = await imported('cvat', { 'annotations.xml': mask }, ['a.jpg'])
  // .XX / .XX of three columns: the first column is empty, two pixels in each of the others
  const counts = [11 * 480 + 20, 2, 478, 2, 640 * 480 - 12 * 480 - 22]
  expect(rows[0]?.extras?.segmentation).toEqual({ size: [480, 640], counts })
  expect(readSegmentation(rows[0]?.extras?.segmentation)).toMatchObject({ bbox: [11, 20, 2, 2] })
})

test('LabelMe: a mask ends with its last pixel, a turned box of X-AnyLabeling keeps its corners', async () => {
  const corners = [
    [20, 10],
    [30, 20],
    [20, 30],
    [10, 20],
  ]
  const shapes = [
    shape(
      'mask',
      [
        [10, 20],
        [39, 59],
      ],
      { mask: 'iVBORw0KGgo=' },
    ),
    shape('rotation', corners),
  ]
  const { boxes, rows } = await imported('labelme', { 'a.json': labelme(shapes) }, ['a.jpg'])
  expect(boxes).toEqual(['a.jpg cup 10,20,30,40', 'a.jpg cup 10,10,20,20'])
  expect(rows[1]?.extras?.segmentation).toEqual([corners.flat()])
})

test('polygons that reach beyond the picture are cut at its edges, as their boxes are', async () => {
  const shapes = [
    shape('polygon', [
      [-10, 20],
      [630, 20],
      [630, 100],
      [-10, 100],
    ]),
    shape('polygon', [
      [600, 440],
      [700, 440],
      [700, 520],
      [600, 520],
    ]),
    shape('polygon', [
      [1, 1],
      [9, 1],
      [9, 8],
    ]),
  ]
  const { rows } = await imported('labelme', { 'a.json': labelme(shapes) }, ['a.jpg'])
  const fitting = rows.map(({ extras, bboxXywh }) => fittingSegmentation(extras, bboxXywh))
  const areas = fitting.map((polygons) => Array.isArray(polygons) && polygons.map(areaOf))
  expect(areas).toEqual([[630 * 80], [40 * 40], [28]])
  expect(rows.map(({ bboxXywh }) => bboxXywh.join(','))).toEqual(['0,20,630,80', '600,440,40,40', '1,1,8,7'])
  expect(fitting[2]).toEqual([[1, 1, 9, 1, 9, 8]])
})

/** Of a polygon, by the shoelace formula. */
function areaOf(polygon: number[]): number {
  const points = [...pairsOf(polygon)]
  const twice = points.reduce((sum, [x, y], index) => {
    const [nextX, nextY] = points[(index + 1) % points.length] as [number, number]
    return sum + x * nextY - nextX * y
  }, 0)
  return Math.abs(twice) / 2
}
