import { describeParity } from './parity.ts'

describeParity('three-level')
