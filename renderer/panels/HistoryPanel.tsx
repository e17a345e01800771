/** What happened, newest first; what was taken back is struck. */
import { useCallback, useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Output } from '../../electron/contract/api.ts'
import { openImage } from '../actions/select.ts'
import { client } from '../client.ts'
import { useRecords } from '../stores/records.ts'
import './facts.css'

type Entry = Output<'history.list'>[number]
const PAGE = 100

export function HistoryPanel() {
  const { t, i18n } = useTranslation()
  const seq = useRecords((state) => state.project?.headSeq ?? 0)
  const images = useRecords((state) => state.images)
  const [entries, setEntries] = useState<readonly Entry[] | null>(null)
  const [more, setMore] = useState(false)
  // biome-ignore lint/correctness/useExhaustiveDependencies: every new revision changes the list
  useEffect(() => {
    let stale = false
    client()
      .call('history.list', { limit: PAGE })
      .then((rows) => {
        if (stale) return
        setEntries(rows)
        setMore(rows.length === PAGE)
      })
      .catch(() => setEntries([]))
    return () => {
      stale = true
    }
  }, [seq])
  const loadMore = useCallback(async () => {
    const last = entries?.at(-1)
    if (last === undefined) return
    const rows = await client().call('history.list', { limit: PAGE, beforeSeq: last.seq })
    setEntries([...(entries ?? []), ...rows])
    setMore(rows.length === PAGE)
  }, [entries])
  const time = new Intl.DateTimeFormat(i18n.language, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
  if (entries === null) return null
  return (
    <ol className="history">
      {entries.length === 0 ? <li className="dim">{t('history.empty')}</li> : null}
      {entries.map((entry) => {
        const image = entry.imageId === null ? undefined : images.get(entry.imageId)
        return (
          <li className={entry.undone ? 'history-row undone' : 'history-row'} key={entry.seq}>
            <span className="cut">
              {entry.label}
              {entry.undone ? <span className="hidden-text"> ({t('history.undone')})</span> : null}
            </span>
            {image === undefined ? (
              <span />
            ) : (
              <button className="link cut" onClick={() => openImage(image.id)} type="button">
                {image.fileName}
              </button>
            )}
            <span className="dim">{entry.actor === 'human' ? '' : t(`history.${entry.actor}`)}</span>
            <span className="dim">{time.format(entry.createdAt)}</span>
          </li>
        )
      })}
      {more ? (
        <li>
          <button className="link" onClick={() => void loadMore()} type="button">
            {t('history.more')}
          </button>
        </li>
      ) : null}
    </ol>
  )
}
