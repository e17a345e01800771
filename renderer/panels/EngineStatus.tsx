/** The model's state in words, with its progress while it gets ready. */
import { useTranslation } from 'react-i18next'
import { useRecords } from '../stores/records.ts'

/** What the runtimes are called where people read it. */
const PROVIDERS: Readonly<Record<string, string>> = {
  cpu: 'CPU',
  cuda: 'CUDA',
  coreml: 'Core ML',
  dml: 'DirectML',
  webgpu: 'WebGPU',
}

export function EngineStatus() {
  const { t } = useTranslation()
  const engine = useRecords((state) => state.engine)
  if (engine === null) return null
  const running = engine.status === 'ready' || engine.status === 'busy'
  const speed =
    engine.secondsPerImage === null
      ? null
      : t('engine.perImage', { seconds: engine.secondsPerImage.toFixed(engine.secondsPerImage < 1 ? 2 : 1) })
  const words = running
    ? [engine.modelName, PROVIDERS[engine.provider.toLowerCase()] ?? engine.provider, speed]
    : [t(`engine.${engine.status}`), percent(engine.progress)]
  return (
    <span className="engine dim" data-status={engine.status} title={engine.note}>
      <i aria-hidden="true" className="engine-dot" />
      <span className="engine-words">{words.filter(Boolean).join(' · ')}</span>
    </span>
  )
}

function percent(progress: { done: number; total: number | null } | null): string | null {
  if (progress === null || progress.total === null || progress.total === 0) return null
  return `${Math.round((100 * progress.done) / progress.total)} %`
}
