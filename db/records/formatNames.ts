/** The formats there are, by the names that the command line, scripts and dialogs use. PURE. */
export const FORMAT_NAMES = [
  'coco',
  'coco-captions',
  'coco-results',
  'lvis',
  'refcoco',
  'visual-genome',
  'flickr30k',
  'yolo',
  'voc',
  'labelme',
  'csv',
  'cvat',
  'label-studio',
  'groma-instruct',
  'synthetic',
  'everything',
] as const
export type FormatName = (typeof FORMAT_NAMES)[number]
