// dockerode, the library for Node: what its own documentation shows, and what must come of it.
'use strict';
const assert = require('node:assert');
const { PassThrough } = require('node:stream');
const Docker = require('dockerode');

const docker = new Docker();

function collected() {
  const stream = new PassThrough();
  const pieces = [];
  stream.on('data', (piece) => pieces.push(piece));
  return { stream, text: () => Buffer.concat(pieces).toString() };
}

async function main() {
  // run: output by stream, and the code.
  const [out, err] = [collected(), collected()];
  const [ended, gone] = await docker.run('busybox', ['sh', '-c', 'echo out; echo err >&2; exit 4'], [out.stream, err.stream], { Tty: false });
  assert.strictEqual(ended.StatusCode, 4);
  assert.deepStrictEqual([out.text(), err.text()], ['out\n', 'err\n']);
  await gone.remove();

  // A container by hand, with a published port, an exec, logs and stats.
  const web = await docker.createContainer({
    Image: 'busybox', name: 'web', Cmd: ['sh', '-c', 'echo ready; sleep 1000'],
    ExposedPorts: { '80/tcp': {} }, HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '' }] }, Memory: 67108864 },
    Labels: { tier: 'front' },
  });
  await web.start();
  const seen = await web.inspect();
  assert.ok(seen.State.Running && Number(seen.NetworkSettings.Ports['80/tcp'][0].HostPort) > 0);
  assert.strictEqual(seen.HostConfig.Memory, 67108864);
  const exec = await web.exec({ Cmd: ['sh', '-c', 'cat; exit 5'], AttachStdin: true, AttachStdout: true, AttachStderr: true });
  const talk = await exec.start({ hijack: true, stdin: true });
  const [said, nothing] = [collected(), collected()];
  docker.modem.demuxStream(talk, said.stream, nothing.stream);
  talk.end('typed\n');
  await new Promise((resolve) => talk.on('end', resolve));
  assert.strictEqual(said.text(), 'typed\n');
  assert.strictEqual((await exec.inspect()).ExitCode, 5);
  const log = await web.logs({ stdout: true, stderr: true, timestamps: false });
  assert.ok(log.toString().includes('ready'));
  const stats = await web.stats({ stream: false });
  assert.ok(stats.memory_stats.usage > 0 && stats.cpu_stats.system_cpu_usage > 0);
  assert.strictEqual((await web.top()).Processes.length > 0, true);

  // Lists and filters, in the form of an object.
  const found = await docker.listContainers({ filters: { label: ['tier=front'] } });
  assert.deepStrictEqual(found.map((one) => one.Names), [['/web']]);

  // Events, from before what causes them.
  const events = await docker.getEvents({ filters: { container: ['web'], event: ['die'] } });
  const died = new Promise((resolve) => events.once('data', (line) => resolve(JSON.parse(line))));
  await web.kill();
  assert.strictEqual((await died).Actor.Attributes.exitCode, '137');
  events.destroy();

  // Files in and out, a commit, an image's history.
  const changed = await web.commit({ repo: 'made', tag: '1', comment: 'by dockerode' });
  assert.ok(changed.Id.startsWith('sha256:'));
  const history = await docker.getImage('made:1').history();
  assert.strictEqual(history[0].Comment, 'by dockerode');
  await web.remove({ force: true });
  await docker.getImage('made:1').remove();

  // A network and a volume.
  const network = await docker.createNetwork({ Name: 'red', IPAM: { Config: [{ Subnet: '10.88.0.0/24' }] } });
  assert.strictEqual((await network.inspect()).IPAM.Config[0].Subnet, '10.88.0.0/24');
  await network.remove();
  await docker.createVolume({ Name: 'data', Labels: { kept: 'no' } });
  assert.strictEqual((await docker.listVolumes({ filters: { label: ['kept=no'] } })).Volumes.length, 1);
  await docker.getVolume('data').remove();

  // Errors have their status and the daemon's sentence.
  await assert.rejects(docker.getContainer('nosuch').inspect(), (error) => error.statusCode === 404 && /No such container: nosuch/.test(error.message));
  console.log('all is well');
}

main().catch((error) => { console.error(error); process.exit(1); });
