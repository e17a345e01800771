/** Questions about the image and answers that point at it. Answers are text nodes, never markup. */
import { ArrowUp, Square, X } from 'lucide-react'
import { useEffect, useRef } from 'react'
import { useTranslation } from 'react-i18next'
import { ask, clearTalk } from '../actions/grounding.ts'
import { jobOf } from '../actions/jobs.ts'
import { Keys } from '../components/Kbd.tsx'
import { Segmented } from '../components/Segmented.tsx'
import { focusCanvas, focusPane } from '../keys/commands.ts'
import { useRecords } from '../stores/records.ts'
import { useCurrentRegion, useRegions } from '../stores/selectors.ts'
import { useTalk } from '../stores/talk.ts'
import { type TalkMode, useView } from '../stores/view.ts'
import { AnswerView } from './AnswerView.tsx'
import './talk.css'

const MODES: readonly TalkMode[] = ['grounded', 'plain', 'find']

export function TalkPanel() {
  const { t } = useTranslation()
  const mode = useView((view) => view.talkMode)
  const imageId = useView((view) => view.imageId)
  const count = useRecords((state) => (imageId === null ? 0 : (state.messages.get(imageId)?.length ?? 0)))
  return (
    <section aria-label={t('talk.title')} className="talk">
      <header className="talk-head">
        <h2>{t('talk.title')}</h2>
        {count > 0 ? (
          <button
            className="link"
            onClick={() => {
              void clearTalk()
              focusPane('talk') // the button goes with the talk
            }}
            type="button"
          >
            {t('talk.clear')}
          </button>
        ) : null}
        <span className="spring" />
        <Segmented
          label={t('talk.mode')}
          onChange={(talkMode) => useView.setState({ talkMode })}
          options={MODES.map((value) => ({ value, label: t(`talk.${value}`) }))}
          value={mode}
        />
      </header>
      <Conversation />
      <Composer />
    </section>
  )
}

const none: never[] = []

function Conversation() {
  const { t } = useTranslation()
  const imageId = useView((view) => view.imageId)
  const messages = useRecords((state) => (imageId === null ? none : (state.messages.get(imageId) ?? none)))
  const running = useTalk((talk) => (talk.running?.imageId === imageId ? talk.running : null))
  const log = useRef<HTMLDivElement>(null)
  const length = messages.length + (running?.text.length ?? 0)
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolls when something was added, not when the log changes
  useEffect(() => {
    log.current?.scrollTo({ top: log.current.scrollHeight })
  }, [length])
  return (
    <div aria-label={t('talk.log')} aria-live="polite" className="log" ref={log} role="log">
      {messages.length === 0 && running === null ? <p className="dim talk-empty">{t('talk.empty')}</p> : null}
      {messages.map((message) =>
        message.role === 'user' ? (
          <p className="question-bubble selectable" key={message.id}>
            {message.text}
          </p>
        ) : (
          <AnswerView key={message.id} message={message} />
        ),
      )}
      {running === null ? null : (
        <>
          <p className="question-bubble">{running.question}</p>
          <p className="answer streaming">
            {running.text === '' ? <span className="dim">{running.note || t('talk.thinking')}</span> : running.text}
          </p>
        </>
      )}
    </div>
  )
}

function Composer() {
  const { t } = useTranslation()
  const draft = useTalk((talk) => talk.draft)
  const running = useTalk((talk) => talk.running !== null)
  const mode = useView((view) => view.talkMode)
  const findAll = useView((view) => view.findAll)
  const imageId = useView((view) => view.imageId)
  const send = () => {
    const text = draft
    if (text.trim() === '' || running) return
    useTalk.setState({ draft: '' })
    void ask(text).then((ok) => {
      // a question that failed is not lost
      if (!ok && useTalk.getState().draft === '') useTalk.setState({ draft: text })
    })
  }
  const stop = () => {
    ;(jobOf('ask') ?? jobOf('locate'))?.cancel()
    focusPane('talk')
  }
  return (
    <div className="composer">
      {mode === 'find' ? (
        <label className="check">
          <input
            checked={findAll}
            onChange={(event) => useView.setState({ findAll: event.target.checked })}
            type="checkbox"
          />
          {t('talk.all')}
        </label>
      ) : (
        <Attachments />
      )}
      <div className="ask">
        <input
          aria-label={t('talk.ask')}
          autoComplete="off"
          className="field"
          data-pane="talk"
          disabled={imageId === null}
          onChange={(event) => useTalk.setState({ draft: event.target.value })}
          onKeyDown={(event) => {
            if (event.nativeEvent.isComposing) return
            if (event.key === 'Enter') send()
            else if (event.key === 'Escape') focusCanvas()
            else return
            event.preventDefault()
          }}
          placeholder={t(mode === 'find' ? 'talk.placeholderFind' : 'talk.placeholder')}
          type="text"
          value={draft}
        />
        {running ? (
          <button
            aria-label={t('talk.stop')}
            className="ask-button"
            onClick={stop}
            title={t('talk.stop')}
            type="button"
          >
            <Square aria-hidden="true" fill="currentColor" size={11} />
          </button>
        ) : draft.trim() === '' ? (
          <Keys caps={[mode === 'find' ? 'G' : 'T']} />
        ) : (
          <button
            aria-label={t('talk.send')}
            className="ask-button"
            onClick={() => {
              send()
              focusPane('talk') // the button turns into another one
            }}
            title={t('talk.send')}
            type="button"
          >
            <ArrowUp aria-hidden="true" size={14} />
          </button>
        )}
      </div>
    </div>
  )
}

/** Regions that ride along with the question; the one in question is offered. */
function Attachments() {
  const { t } = useTranslation()
  const attachedIds = useView((view) => view.attachedIds)
  const regions = useRegions()
  const current = useCurrentRegion()
  const categories = useRecords((state) => state.categories)
  const attached = regions.filter((region) => attachedIds.includes(region.id))
  const nameOf = (id: number | null, caption: string | null) =>
    caption ?? (id === null ? undefined : categories.get(id)?.name) ?? t('bar.noCaption')
  /** The chip that was pressed goes: one goes on typing. */
  const attach = (ids: readonly number[]) => {
    useView.setState({ attachedIds: ids })
    focusPane('talk')
  }
  if (attached.length === 0 && current === null) return null
  return (
    <div className="chips">
      {attached.map((region) => {
        const name = nameOf(region.categoryId, region.caption)
        return (
          <span className="chip" key={region.id}>
            <span className="cut">{name}</span>
            <button
              aria-label={t('talk.detach', { name })}
              onClick={() => attach(attachedIds.filter((id) => id !== region.id))}
              type="button"
            >
              <X aria-hidden="true" size={12} />
            </button>
          </span>
        )
      })}
      {current !== null && !attachedIds.includes(current.id) ? (
        <button className="chip offer" onClick={() => attach([...attachedIds, current.id])} type="button">
          + {t('talk.attach')}
        </button>
      ) : null}
    </div>
  )
}
