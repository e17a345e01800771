/** Files of the folder that are no images, or broken ones, each with its reason. */
import { useTranslation } from 'react-i18next'
import { Dialog } from '../components/Dialog.tsx'
import { useRecords } from '../stores/records.ts'

export function SkippedDialog() {
  const { t } = useTranslation()
  const skipped = useRecords((state) => state.skipped)
  return (
    <Dialog title={t('images.skippedTitle')}>
      <p className="dim">{t('images.skippedHint')}</p>
      <table className="skipped-table selectable">
        <thead>
          <tr>
            <th>{t('images.file')}</th>
            <th>{t('images.reason')}</th>
          </tr>
        </thead>
        <tbody>
          {skipped.map((file) => (
            <tr key={file.fileName}>
              <td>{file.fileName}</td>
              <td>{file.reason}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  )
}
