import { RestoreCoordinator, BackupCoordinator, snapshotLevel, Lifecycle } from '/tmp/attack1/src/index.ts';
import { ClassicLevel } from 'classic-level'; import fs from 'node:fs'; import {execFileSync} from 'node:child_process';
const d=fs.mkdtempSync('/tmp/attack1-w/l1-'); const db=new ClassicLevel(d); await db.open(); await db.put('a','1',{sync:true} as any);
await snapshotLevel(db as any);
const other=()=>{try{return execFileSync('node',['--input-type=module','-e',`import {ClassicLevel} from 'classic-level';const d=new ClassicLevel(${JSON.stringify(d)});try{await d.open();console.log('SECOND PROCESS OPENED THE LIVE DATABASE')}catch(e){console.log('locked',e.cause?.code)}`],{cwd:'/tmp/attack1-w'}).toString().trim()}catch(e:any){return e.message}};
console.log('before:',other());
console.log('restore without close hook:',await new RestoreCoordinator({dataDir:d}).restore().then(r=>r.state.status,e=>e.code+' '+e.message));
console.log('after:',other());
