/** A COCO file as another program would leave it: boxes on known images, one image that is not there, one bad row. */
export function cocoFile(pictures: readonly { fileName: string; width: number; height: number }[]): string {
  const known = pictures.map(({ fileName, width, height }, index) => ({
    id: index + 1,
    file_name: fileName,
    width,
    height,
  }))
  const box = (id: number, image_id: number, category_id: number, bbox: readonly (number | null)[]) => ({
    id,
    image_id,
    category_id,
    bbox,
    area: 1,
    iscrowd: 0,
  })
  return JSON.stringify({
    images: [...known, { id: known.length + 1, file_name: 'elsewhere.jpg', width: 640, height: 480 }],
    categories: [
      { id: 1, name: 'circle' },
      { id: 2, name: 'wheel' },
    ],
    annotations: [
      box(1, 1, 1, [100, 120, 60, 50]),
      box(2, 1, 2, [300, 200, 90, 80]),
      box(3, 2, 1, [20, 30, 60, 70]),
      box(4, 2, 2, [120, 40, 50, 40]),
      box(5, 2, 2, [220, 60, 40, 60]),
      box(6, 2, 1, [10, 10, null, 20]),
      box(7, known.length + 1, 1, [5, 5, 20, 20]),
    ],
  })
}
