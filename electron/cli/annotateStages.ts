/** What each task of `annotate --project` asks of the application for an image: stage after stage. */
import type { Input, Output } from '../contract/api.ts'
import { type AnnotateOptions, DESCRIBE } from './annotateOptions.ts'
import type { Context } from './context.ts'

type ImageSummary = Output<'images.get'>

export interface Stage {
  /** Begins what {@link run} will ask of the model. */
  begin(image: ImageSummary): Promise<void>
  /** Stores what comes of it. Resolves to the number of regions. */
  run(image: ImageSummary): Promise<number>
}

export interface Task {
  stages: Stage[]
  /** Whether an earlier run did all of it for this image. */
  isDone(image: ImageSummary): Promise<boolean>
}

export function taskOf(context: Context, options: AnnotateOptions): Task {
  const { services, signal } = context
  const { client } = services

  const propose = (captions: boolean): Stage => {
    const { minScore } = options
    const input = ({ id }: ImageSummary) => ({
      imageId: id,
      captions,
      ...(minScore === undefined ? {} : { minScore }),
    })
    return {
      begin: (image) => services.computeAhead('grounding.propose', input(image), signal),
      run: async (image) => (await client.run('grounding.propose', input(image), { signal })).proposed,
    }
  }

  /** Boxes for images that have none yet. */
  const boxes: Stage = {
    begin: async (image) => (image.proposedAt === null ? propose(false).begin(image) : undefined),
    run: async (image) => {
      if (image.proposedAt === null) await propose(false).run(image)
      return 0
    },
  }

  const captionInput = async ({ id }: ImageSummary): Promise<Input<'grounding.caption'> | null> => {
    const rows = await client.call('annotations.list', { imageId: id })
    const annotationIds = rows.filter((row) => row.caption === null && row.status !== 'rejected').map((row) => row.id)
    return annotationIds.length === 0 ? null : { annotationIds, detail: 'detailed' }
  }
  const captions: Stage = {
    begin: async (image) => {
      const input = await captionInput(image)
      if (input !== null) await services.computeAhead('grounding.caption', input, signal)
    },
    run: async (image) => {
      const input = await captionInput(image)
      if (input !== null) await client.run('grounding.caption', input, { signal })
      return input?.annotationIds.length ?? 0
    },
  }

  /** Questions and phrases that the model answered on an image. */
  const askedOn = async ({ id }: ImageSummary): Promise<Set<string>> => {
    const messages = await client.call('messages.list', { imageId: id })
    return new Set(messages.filter(({ role }) => role === 'user').map(({ text }) => text))
  }

  const description = ({ id }: ImageSummary) => ({ imageId: id, question: DESCRIBE })
  const describe: Stage = {
    begin: (image) => services.computeAhead('grounding.ask', description(image), signal),
    run: async (image) => {
      const { answer } = await client.run('grounding.ask', description(image), { signal })
      const revision =
        answer.spans.length === 0 ? null : await client.call('grounding.addAnswer', { messageId: answer.id })
      return revision?.diff.annotations.length ?? 0
    },
  }

  const phrases = [...new Set(options.phrase ?? [])]
  const searches = async (image: ImageSummary) => {
    const asked = await askedOn(image)
    return phrases.filter((phrase) => !asked.has(phrase)).map((phrase) => ({ imageId: image.id, phrase, all: true }))
  }
  const ground: Stage = {
    begin: async (image) => {
      for (const input of await searches(image)) await services.computeAhead('grounding.locate', input, signal)
    },
    run: async (image) => {
      let found = 0
      for (const input of await searches(image)) {
        const { revision } = await client.run('grounding.locate', input, { signal })
        found += revision?.diff.annotations.length ?? 0
      }
      return found
    },
  }

  const tasks: Record<AnnotateOptions['task'], Task> = {
    propose: { stages: [propose(true)], isDone: async (image) => image.proposedAt !== null },
    caption: {
      stages: [boxes, captions],
      isDone: async (image) => image.proposedAt !== null && (await captionInput(image)) === null,
    },
    describe: { stages: [describe], isDone: async (image) => (await askedOn(image)).has(DESCRIBE) },
    ground: { stages: [ground], isDone: async (image) => (await searches(image)).length === 0 },
  }
  return tasks[options.task]
}
