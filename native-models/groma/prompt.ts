/** A stretch of a prompt: only trusted text (ours) may name special tokens, anything a person typed is plain text. */
export interface QueryPart {
  text: string
  trusted: boolean
}

export type Query = readonly QueryPart[]

/** Everything a prompt says before the question; depends on the image and its regions alone, so its cache is reusable. */
export const promptPrefix =
  'A chat between a curious user and an artificial intelligence assistant. ' +
  "The assistant gives helpful, detailed, and polite answers to the user's questions. " +
  'USER: Here is an image with region crops from it. Image: <image>. Regions: <region>. ' +
  'ASSISTANT: Thank you for the image! How can I assist you with it?</s>'

const beforeQuery = 'USER: '
const afterQuery = ' ASSISTANT:'

/** Text of ours: special tokens in it are special. */
export const trusted = (text: string): QueryPart => ({ text, trusted: true })

/** A person's text: special tokens in it are ordinary characters. */
export const neutralise = (userText: string): QueryPart => ({ text: userText, trusted: false })

/** The parts of a whole prompt, ready for `tokenizer.encodeParts`; a plain string is taken as trusted. */
export function promptParts(query: Query | string): QueryPart[] {
  const parts = typeof query === 'string' ? [trusted(query)] : query
  return [trusted(promptPrefix + beforeQuery), ...parts, trusted(afterQuery)]
}

/** The whole prompt as text, as the authors write it. */
export function buildPrompt(query: Query | string): string {
  return promptParts(query)
    .map((part) => part.text)
    .join('')
}

/** The text of a query. */
export function queryText(query: Query): string {
  return query.map((part) => part.text).join('')
}

const box = '<roi><refer_box></roi><refer_feat>'

/** What Groma can be asked, in the words it was trained on. */
export const queries = {
  /** Describe the picture with regions. */
  describe: (): Query => [trusted('[grounding]Give me a concise description of the image.')],
  /** Any question, answered with regions. */
  groundedQuestion: (question: string): Query => [trusted('[grounding]'), neutralise(question)],
  /** Any question, answered in plain text. */
  plainQuestion: (question: string): Query => [neutralise(question)],
  /** The one region that a phrase refers to. */
  locateOne: (phrase: string): Query => [trusted('Locate <p>'), neutralise(phrase), trusted('</p> in the image.')],
  /** Every region of a class. */
  locateAll: (phrase: string): Query => [trusted('Locate all <p>'), neutralise(phrase), trusted('</p> in this image.')],
  /** A few words on one of the user's boxes. */
  captionBrief: (): Query => [trusted(`Please briefly describe ${box}.`)],
  /** A sentence on one of the user's boxes. */
  captionDetailed: (): Query => [trusted(`Please describe ${box} in details.`)],
  /**
   * A question about the user's boxes: each `{box}` of `template` stands for the next one.
   * @example queries.aboutBoxes('How does {box} relate to {box}?')
   */
  aboutBoxes: (template: string): Query =>
    template.split('{box}').flatMap((text, index) => [...(index > 0 ? [trusted(box)] : []), neutralise(text)]),
} as const

/** New tokens allowed per task: the authors' own limits. */
export const maxNewTokens = { locateOne: 3, locateAll: 10, caption: 100, chat: 1024 } as const
