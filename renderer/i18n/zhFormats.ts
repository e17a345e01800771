/** What each format keeps and loses, in Chinese; in English the services say it. */
import type { FormatName } from '../../db/records/formatNames.ts'

export const zhFormats: Readonly<Record<FormatName, { readonly keeps: string; readonly loses: string }>> = {
  coco: {
    keeps: '框、类别、多边形和游程编码、描述、分数、判定、模型的原话、属性和编号。',
    loses: '对话、类别颜色，以及框由谁完成。没有类别的框记为 "object"。',
  },
  'coco-captions': { keeps: '关于整张图片的句子；没有句子的图片则为其框的描述。', loses: '框、类别和对话。' },
  'coco-results': {
    keeps: '模型提议的框、类别和分数；人工画的框分数为 1。',
    loses: '图片和类别的名称（用 COCO 实例文件中的编号表示）、描述、判定和对话。',
  },
  lvis: {
    keeps: '与 COCO 实例相同；各类别出现的频率会重新统计。',
    loses: '图片确定没有的类别、同义词集和释义、对话。没有类别的框记为 "object"。',
  },
  refcoco: {
    keeps: '框、类别、多边形、指代表达（没有则用描述）、划分和编号。',
    loses: '对话、类别颜色、框由谁完成。没有类别的框记为 "object"。',
  },
  'visual-genome': {
    keeps: '整像素的框，其描述作为短语；也读取物体及其第一个名称。',
    loses: '类别、像素的小数、分数、判定和对话。',
  },
  flickr30k: {
    keeps: '有定位的回答和句子、其中的短语及整像素的框；带描述的框作为短语。',
    loses: '它自有的八类之外的类别、像素的小数、分数、判定和提问。',
  },
  yolo: {
    keeps: '框、类别、没有框的图片；可读取单块多边形。',
    loses: '描述、分数、多边形、判定和对话。没有类别的框记为 "object"。',
  },
  voc: {
    keeps: '整像素的框、类别，以及 difficult、truncated、occluded 和 pose 标记。',
    loses: '像素的小数、描述、分数、多边形、判定和对话。没有类别的框记为 "object"。',
  },
  labelme: {
    keeps: '框、单块多边形、类别、作为 description 的描述、分组和标志。',
    loses: '分数、判定、游程编码和对话。没有类别的框记为 "object"。',
  },
  csv: { keeps: '框、类别、描述、判定、分数、编号，以及没有框的图片。', loses: '多边形、属性、模型的原话和对话。' },
  cvat: {
    keeps: '框、单块多边形、带颜色的类别、描述和属性。',
    loses: '分数、判定、游程编码和对话。没有类别的框记为 "object"。',
  },
  'label-studio': {
    keeps: '框、单块多边形、类别、描述；待定的框作为带分数的预测。',
    loses: '判定、游程编码、属性和对话。没有类别的框记为 "object"。',
  },
  'groma-instruct': {
    keeps: '关于每张图片的对话及其回答指向的框；带描述的框作为一句有定位的回答。',
    loses: '类别、分数、判定，以及没有任何文字的图片。',
  },
  synthetic: {
    keeps: '与 COCO 实例相同，并带有每个框的描述和指代表达。',
    loses: '对话和类别颜色。没有类别的框记为 "object"。',
  },
  everything: {
    keeps: '全部：各种判定的框、由谁完成、时间、模型的原话、带颜色的类别、对话。',
    loses: '只有修改历史和图片本身。',
  },
}
