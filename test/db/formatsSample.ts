/** What is sent through every format: a little of each thing that one of them could keep. */
import type { Annotation, Message } from '../../db/records/records.ts'
import type { Contents } from '../support/formats.ts'
import { annotationRow, categoryRow, imageRow } from './drafts.ts'

const talk = (change: Partial<Message>): Message => ({
  id: 1,
  imageId: 1,
  role: 'assistant',
  text: '',
  spans: [],
  attachedBoxesXywh: [],
  regions: [],
  modelHash: null,
  malformed: false,
  stopReason: null,
  createdAt: 5,
  ...change,
})

const polygon = [12, 20, 42, 22, 40, 60, 13, 58]

/** Names with spaces, folders and other scripts; boxes of parts of pixels; polygons; captions; a grounded answer. */
export function sampleContents(): Contents {
  const boxes: Annotation[] = [
    annotationRow(1, 1, {
      categoryId: 1,
      bboxXywh: [10.25, 20.5, 30.125, 40.0625],
      caption: 'a "red", <big> cup & saucer\nof 车',
    }),
    annotationRow(2, 1, { categoryId: 2, bboxXywh: [0, 0, 640, 480] }),
    annotationRow(3, 2, {
      categoryId: 1,
      bboxXywh: [12, 20, 30, 40],
      extras: { segmentation: [polygon], attributes: { occluded: true } },
    }),
    annotationRow(4, 4, { categoryId: 3, bboxXywh: [600.75, 400, 39.25, 80], caption: 'left one' }),
  ]
  const span = {
    text: 'A cup',
    start: 0,
    end: 5,
    boxes: [{ region: 0, bboxXywh: [12, 20, 30, 40] as [number, number, number, number], score: 1 }],
    unresolved: [],
  }
  return {
    images: [
      imageRow(1, 'scene1.png'),
      imageRow(2, 'sub folder/图 2.jpg'),
      imageRow(3, 'empty.png'),
      imageRow(4, 'z.JPG'),
    ],
    categories: [categoryRow(1, 'cup'), categoryRow(2, 'traffic light'), categoryRow(3, '车')],
    annotations: boxes,
    messages: [talk({ id: 1, imageId: 2, text: 'A cup stands there.', spans: [span] })],
  }
}
