import { describeParity } from './parity.ts'

describeParity('no-region-passes')
