/** The few settings there are; each takes effect at once. */
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Output, Settings } from '../../electron/contract/api.ts'
import { changeSettings, loadModel } from '../actions/project.ts'
import { client } from '../client.ts'
import { closeDialog, Dialog } from '../components/Dialog.tsx'
import { Segmented } from '../components/Segmented.tsx'
import { useRecords } from '../stores/records.ts'

export function SettingsDialog() {
  const { t } = useTranslation()
  const settings = useRecords((state) => state.settings)
  const [models, setModels] = useState<Output<'models.list'>>([])
  useEffect(() => {
    client()
      .call('models.list', {})
      .then(setModels, () => setModels([]))
  }, [])
  const themes: readonly Settings['theme'][] = ['system', 'light', 'dark']
  const names = [...new Set(['demo', settings.model, ...models.map((model) => model.name)])]
  return (
    <Dialog
      footer={
        <button className="button primary" onClick={closeDialog} type="button">
          {t('settings.close')}
        </button>
      }
      title={t('settings.title')}
    >
      <div className="form-row">
        <span className="label">{t('settings.theme')}</span>
        <div>
          <Segmented
            label={t('settings.theme')}
            onChange={(theme) => void changeSettings({ theme })}
            options={themes.map((value) => ({ value, label: t(`settings.${value}`) }))}
            value={settings.theme}
          />
        </div>
      </div>
      <div className="form-row">
        <span className="label">{t('settings.language')}</span>
        <div>
          <Segmented
            label={t('settings.language')}
            onChange={(language) => void changeSettings({ language })}
            options={[
              { value: 'en', label: 'English' },
              { value: 'zh', label: '中文' },
            ]}
            value={settings.language}
          />
        </div>
      </div>
      <div className="form-row">
        <label htmlFor="setting-ahead">{t('settings.ahead')}</label>
        <input
          className="field number"
          id="setting-ahead"
          max={20}
          min={0}
          onChange={(event) => {
            const proposeAhead = event.target.valueAsNumber
            if (Number.isInteger(proposeAhead) && proposeAhead >= 0 && proposeAhead <= 20)
              void changeSettings({ proposeAhead })
          }}
          type="number"
          value={settings.proposeAhead}
        />
        <span className="dim">{t('settings.aheadHint')}</span>
      </div>
      <div className="form-row">
        <label htmlFor="setting-model">{t('settings.model')}</label>
        <select
          className="field"
          id="setting-model"
          onChange={(event) => {
            const model = event.target.value
            void changeSettings({ model }).then(() => loadModel(model))
          }}
          value={settings.model}
        >
          {names.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </div>
    </Dialog>
  )
}
