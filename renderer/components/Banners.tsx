/** Lasting conditions and notices, in a line above the picture: what happened, what happens next, what one can do. */
import { CircleAlert, Info, X } from 'lucide-react'
import { useTranslation } from 'react-i18next'
import { loadModel } from '../actions/project.ts'
import { useRecords } from '../stores/records.ts'
import { useView } from '../stores/view.ts'
import { dismiss, useWork } from '../stores/work.ts'
import './banners.css'

export function Banners() {
  const { t } = useTranslation()
  const connected = useView((state) => state.connected)
  const refused = useView((state) => state.refused)
  const warning = useRecords((state) => state.project?.warning ?? null)
  const engine = useRecords((state) => state.engine)
  const model = useRecords((state) => state.settings.model)
  const notices = useWork((state) => state.notices)
  const broken = engine?.status === 'failed' || engine?.status === 'crashed'
  return (
    <div className="banners">
      {connected ? null : <Banner kind="error" text={t(refused ? 'app.restarted' : 'app.disconnected')} />}
      {warning === null ? null : <Banner kind="info" text={warning} />}
      {broken ? (
        <Banner
          action={engine.status === 'failed' ? { label: t('engine.retry'), run: () => void loadModel(model) } : null}
          kind="error"
          text={engine.note === '' ? t(`engine.${engine.status}`) : engine.note}
        />
      ) : null}
      {notices.map((notice) => (
        <Banner
          action={notice.action}
          key={notice.id}
          kind={notice.kind}
          onDismiss={() => dismiss(notice.id)}
          text={notice.text}
        />
      ))}
    </div>
  )
}

interface Props {
  readonly kind: 'error' | 'info'
  readonly text: string
  readonly action?: { label: string; run: () => void } | null
  readonly onDismiss?: () => void
}

function Banner({ kind, text, action = null, onDismiss }: Props) {
  const { t } = useTranslation()
  const Icon = kind === 'error' ? CircleAlert : Info
  return (
    <div className={`banner ${kind}`} role={kind === 'error' ? 'alert' : 'note'}>
      <Icon aria-hidden="true" size={15} />
      <span className="selectable">{text}</span>
      {action === null ? null : (
        <button className="button small" onClick={action.run} type="button">
          {action.label}
        </button>
      )}
      {onDismiss === undefined ? null : (
        <button aria-label={t('common.dismiss')} className="button quiet icon small" onClick={onDismiss} type="button">
          <X aria-hidden="true" size={14} />
        </button>
      )}
    </div>
  )
}
