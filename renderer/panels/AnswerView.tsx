/** One answer: its phrases light their boxes, and light up when their boxes are touched. */
import { Fragment, useMemo } from 'react'
import { useTranslation } from 'react-i18next'
import type { GroundedSpan, Message } from '../../db/records/records.ts'
import { addAnswer } from '../actions/grounding.ts'
import { selectRegion } from '../actions/select.ts'
import { overlap, SAME_THING_IOU } from '../canvas/boxMath.ts'
import { useRecords } from '../stores/records.ts'
import { currentRegions, useRegions } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { answerParts, regionCount } from './answerParts.ts'

const light = (span: GroundedSpan | null) =>
  useView.setState({
    lit: span === null ? [] : span.boxes.map((box) => ({ bboxXywh: box.bboxXywh, label: span.text })),
  })

/** Brings the region that a phrase means into question, where it is on the image. */
function follow(span: GroundedSpan): void {
  for (const box of span.boxes) {
    const same = currentRegions().find(
      (region) => region.status !== 'rejected' && overlap(region.bboxXywh, box.bboxXywh) >= SAME_THING_IOU,
    )
    if (same === undefined) continue
    selectRegion(same.id)
    return
  }
}

export function AnswerView({ message }: { message: Message }) {
  const { t } = useTranslation()
  const parts = useMemo(() => answerParts(message.text, message.spans), [message])
  const regions = useRegions()
  const count = regionCount(message)
  const boxes = message.spans.flatMap((span) => span.boxes)
  const allThere =
    boxes.length > 0 &&
    boxes.every((box) =>
      regions.some(
        (region) => region.status !== 'rejected' && overlap(region.bboxXywh, box.bboxXywh) >= SAME_THING_IOU,
      ),
    )
  const stopped = message.stopReason === null || message.stopReason === 'eos' ? null : t(`talk.${message.stopReason}`)
  return (
    <p className="answer selectable">
      {parts.map((part, index) => {
        const span = part.spanIndex === null ? undefined : message.spans[part.spanIndex]
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a stored answer never move
          <Fragment key={index}>{span === undefined ? part.text : <Phrase span={span} text={part.text} />}</Fragment>
        )
      })}{' '}
      <span className="answer-foot">
        {stopped === null ? null : <span className="warn">{stopped} · </span>}
        {message.malformed && stopped === null ? <span className="warn">{t('talk.malformed')} · </span> : null}
        {count > 0 ? (
          <>
            {t('talk.regions', { count })}
            {' · '}
            {allThere ? (
              t('talk.added')
            ) : (
              <button className="link" onClick={() => void addAnswer(message.id)} type="button">
                {t('talk.add')}
              </button>
            )}
          </>
        ) : null}
      </span>
    </p>
  )
}

/** A phrase: a link to its boxes where it has some, and the plain word that it has none where it should. */
function Phrase({ span, text }: { span: GroundedSpan; text: string }) {
  const { t } = useTranslation()
  const touched = useTouched(span)
  const unresolved =
    span.unresolved.length === 0 ? null : (
      <span className="unresolved-note" title={t('talk.unresolvedHint')}>
        {' '}
        ({t('talk.unresolved')})
      </span>
    )
  if (span.boxes.length === 0) {
    return unresolved === null ? (
      text
    ) : (
      <span className="unresolved">
        {text}
        {unresolved}
      </span>
    )
  }
  const numbers = span.boxes.map((box) => box.region).join(' ')
  return (
    <>
      <a
        className={touched ? 'phrase lit' : 'phrase'}
        data-regions={numbers}
        href={`#regions-${numbers.replaceAll(' ', '-')}`}
        onBlur={() => light(null)}
        onClick={(event) => {
          event.preventDefault()
          follow(span)
        }}
        onFocus={() => light(span)}
        onMouseEnter={() => light(span)}
        onMouseLeave={() => light(null)}
        title={span.boxes
          .map((box) => `${t('talk.region', { number: box.region })}: ${box.score.toFixed(2)}`)
          .join('\n')}
      >
        {text === '' ? span.boxes.map((box) => t('talk.region', { number: box.region })).join(', ') : text}
      </a>
      {unresolved}
    </>
  )
}

/** Whether the hovered or current region on the picture is one of the phrase's boxes. */
function useTouched(span: GroundedSpan): boolean {
  const imageId = useView((view) => view.imageId)
  const touchedId = useView((view) => view.hoveredId ?? view.regionId)
  return useRecords((state) => {
    const region = imageId === null || touchedId === null ? undefined : state.annotations.get(imageId)?.get(touchedId)
    return region !== undefined && span.boxes.some((box) => overlap(box.bboxXywh, region.bboxXywh) >= SAME_THING_IOU)
  })
}
