/** An image's state in a few words. Pure. */
import type { ImageSummary } from '../../db/records/records.ts'
import type { Activity } from '../stores/records.ts'

export type Tone = 'ok' | 'edited' | 'proposed' | 'no' | 'dim'
type Translate = (key: string, values?: Record<string, unknown>) => string

/** "6 ✓", "3 of 8", "7 proposed", "computing", "new", "missing". */
export function imageState(
  image: ImageSummary,
  activity: Activity | undefined,
  t: Translate,
): { words: string; tone: Tone } {
  const { proposed, accepted, edited, rejected } = image.counts
  const decided = accepted + edited + rejected
  const total = proposed + decided
  if (image.status === 'missing') return { words: t('images.missing'), tone: 'no' }
  if (activity?.state === 'computing') {
    return { words: activity.note === '' ? t('images.computing') : activity.note, tone: 'dim' }
  }
  if (total > 0 && (proposed === 0 || image.done)) {
    const kept = accepted + edited
    const words = [
      kept > 0 || rejected === 0 ? t('images.accepted', { count: kept }) : '',
      rejected > 0 ? t('images.rejected', { count: rejected }) : '',
    ]
    return { words: words.filter((word) => word !== '').join(' '), tone: 'ok' }
  }
  if (image.done) return { words: t('images.done'), tone: 'ok' }
  if (proposed > 0 && decided > 0) return { words: t('images.ofTotal', { decided, total }), tone: 'edited' }
  if (proposed > 0) return { words: t('images.proposed', { count: proposed }), tone: 'proposed' }
  if (activity?.state === 'queued') return { words: t('images.queued'), tone: 'dim' }
  return { words: t(image.proposedAt === null ? 'images.new' : 'images.nothing'), tone: 'dim' }
}
