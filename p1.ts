// late open: the open hook times out, then resolves; the back way closes/locks while it is half open
import { RestoreCoordinator, BackupCoordinator, Lifecycle, openLsm } from '/tmp/attack1/src/index.ts';
import fs from 'node:fs';
const d=fs.mkdtempSync('/tmp/attack1-w/p1-'); const G={walGeometry:{segmentBytes:65536,segmentCount:4}} as any; let db:any=await openLsm(d,G); await db.put(Buffer.from('k'),Buffer.from('old'));
const lc=new Lifecycle({dataDir:d}); await new BackupCoordinator({dataDir:d,lifecycle:lc}).backup(); await db.put(Buffer.from('k'),Buffer.from('new'));
let first=true;
const r=new RestoreCoordinator({dataDir:d,lifecycle:lc,hookTimeoutMs:200,close:async()=>{await db?.close();db=undefined},open:async()=>{ if(first){first=false;await new Promise(r=>setTimeout(r,400)); } db=await openLsm(d,G);}});
console.log(await r.restore().then(r=>r.state.status,e=>e.code+' '+e.message)); console.log('mode',lc.mode,'k=',db&&String(await db.get(Buffer.from('k'))));
await new Promise(r=>setTimeout(r,600)); console.log('later: open',!!db, fs.readdirSync(d)); 
// close hook times out, then closes after the coordinator went on
const d2=fs.mkdtempSync('/tmp/attack1-w/p1-'); let db2:any=await openLsm(d2,G); await db2.put(Buffer.from('k'),Buffer.from('old')); const lc2=new Lifecycle({dataDir:d2}); await new BackupCoordinator({dataDir:d2,lifecycle:lc2}).backup();
const r2=new RestoreCoordinator({dataDir:d2,lifecycle:lc2,hookTimeoutMs:200,close:async()=>{await new Promise(r=>setTimeout(r,400));await db2.close();db2=undefined},open:async()=>{db2=await openLsm(d2,G);}});
console.log('close late:',await r2.restore().then(r=>r.state.status,e=>e.code)); await new Promise(r=>setTimeout(r,500)); console.log('mode',lc2.mode,'open',!!db2);
process.exit();
