/** The tools on the picture: sticky, none opens anything. */
import { Contrast, Hand, Maximize, MousePointer2, ScanSearch, SquareDashed } from 'lucide-react'
import { useTranslation } from 'react-i18next'
import { focusCanvas, run } from '../keys/commands.ts'
import { type CommandId, shownKey } from '../keys/keymap.ts'
import { type Tool, useView } from '../stores/view.ts'
import './toolRail.css'

export function ToolRail() {
  const { t } = useTranslation()
  const tool = useView((view) => view.tool)
  const dimRest = useView((view) => view.dimRest)
  const follow = useView((view) => view.follow)
  const tip = (label: string, command: CommandId | null) =>
    command === null ? label : `${label}  (${shownKey(command).join(' ')})`
  const pick = (name: Tool, label: string, Icon: typeof Hand, command: CommandId | null) => (
    <button
      aria-label={label}
      aria-pressed={tool === name}
      className="tool"
      onClick={() => {
        if (name === 'draw') return run('draw')
        useView.setState({ tool: name })
        focusCanvas()
      }}
      title={tip(label, command)}
      type="button"
    >
      <Icon aria-hidden="true" size={16} />
    </button>
  )
  return (
    <div aria-orientation="vertical" className="tool-rail" role="toolbar">
      {pick('select', t('canvas.select'), MousePointer2, 'select')}
      {pick('draw', t('canvas.draw'), SquareDashed, 'draw')}
      {pick('pan', t('canvas.pan'), Hand, null)}
      <hr />
      <button
        aria-label={t('canvas.dim')}
        aria-pressed={dimRest}
        className="tool"
        onClick={() => run('dim')}
        title={tip(t('canvas.dim'), 'dim')}
        type="button"
      >
        <Contrast aria-hidden="true" size={16} />
      </button>
      <button
        aria-label={t('canvas.follow')}
        aria-pressed={follow}
        className="tool"
        onClick={() => run('follow')}
        title={tip(t('canvas.follow'), 'follow')}
        type="button"
      >
        <ScanSearch aria-hidden="true" size={16} />
      </button>
      <button
        aria-label={t('canvas.fit')}
        className="tool"
        onClick={() => run('fit')}
        title={tip(t('canvas.fit'), 'fit')}
        type="button"
      >
        <Maximize aria-hidden="true" size={16} />
      </button>
    </div>
  )
}
