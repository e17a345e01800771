/** Facts: the image, the region in question with what the model said first, and the classes. */
import { useTranslation } from 'react-i18next'
import type { BboxXywh } from '../../db/records/records.ts'
import { setDone } from '../actions/decide.ts'
import { useRecords } from '../stores/records.ts'
import { useCurrentRegion } from '../stores/selectors.ts'
import { useView } from '../stores/view.ts'
import { ClassList } from './ClassList.tsx'
import { imageState } from './imageState.ts'
import './facts.css'

const box = (b: BboxXywh) => `${b[0].toFixed(1)}, ${b[1].toFixed(1)} · ${b[2].toFixed(1)} × ${b[3].toFixed(1)}`

/** 1.4 MB, as file managers say it. */
const bytes = (n: number) => (n < 1e6 ? `${Math.max(1, Math.round(n / 1e3))} KB` : `${(n / 1e6).toFixed(1)} MB`)

export function InfoPanel() {
  const { t } = useTranslation()
  const imageId = useView((view) => view.imageId)
  const image = useRecords((state) => (imageId === null ? undefined : state.images.get(imageId)))
  const activity = useRecords((state) => (imageId === null ? undefined : state.activity.get(imageId)))
  const region = useCurrentRegion()
  const source = { model: 'info.sourceModel', human: 'info.sourceHuman', import: 'info.sourceImport' } as const
  return (
    <div className="info selectable">
      {image === undefined ? null : (
        <section>
          <h3>{t('info.image')}</h3>
          <Facts
            rows={[
              [t('info.file'), image.fileName],
              [t('info.size'), `${image.width} × ${image.height}`],
              [t('info.bytes'), bytes(image.fileBytes)],
              [t('info.state'), imageState(image, activity, t as never).words],
            ]}
          />
          <label className="check">
            <input
              checked={image.done}
              onChange={(event) => void setDone(event.target.checked, false)}
              type="checkbox"
            />
            {t('info.done')}
          </label>
        </section>
      )}
      {region === null ? null : (
        <section>
          <h3>{t('info.region')}</h3>
          <Facts
            rows={[
              [t('info.source'), t(source[region.provenance])],
              [t('info.state'), t(`regions.${region.status}`)],
              [t('info.box'), box(region.bboxXywh)],
              [t('info.modelBox'), region.modelBboxXywh === null ? null : box(region.modelBboxXywh)],
              [t('info.modelCaption'), region.modelCaption],
              [t('info.score'), region.modelScore?.toFixed(3) ?? null],
              [t('info.model'), region.modelHash?.slice(0, 12) ?? null],
              [t('info.look'), region.decisionMs === null ? null : `${(region.decisionMs / 1000).toFixed(1)} s`],
            ]}
          />
        </section>
      )}
      <ClassList />
    </div>
  )
}

function Facts({ rows }: { rows: readonly (readonly [string, string | null])[] }) {
  return (
    <dl className="facts">
      {rows.map(([name, value]) =>
        value === null ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ),
      )}
    </dl>
  )
}
