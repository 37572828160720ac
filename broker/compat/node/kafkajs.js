// kafkajs as a client of the stories: one JSON command a line, one JSON answer a line.
'use strict'
const readline = require('readline')
const { Kafka, logLevel, Partitioners, PartitionAssigners } = require('kafkajs')

const kafka = new Kafka({ clientId: 'stories', brokers: process.argv[2].split(','), logLevel: logLevel.NOTHING })
const state = {}

const fields = (partition, m) => ({
  p: partition, o: Number(m.offset), t: Number(m.timestamp), k: m.key ? m.key.toString() : '', v: m.value.toString(),
})

const byPartition = records => {
  const all = new Map()
  for (const r of records) all.set(r.p, (all.get(r.p) || []).concat(r))
  return all
}

const ops = {
  async produce (c) {
    const p = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner })
    await p.connect()
    const began = Date.now()
    for (let sent = 0; sent < c.records.length;) { // whatever is due, one send after the other
      const due = c.ms ? Math.floor((Date.now() - began) / c.ms) + 1 : c.records.length
      // To one partition each: of what goes to several brokers at once and has to be sent again because one of them is gone,
      // kafkajs loses or doubles some.
      for (const [partition, records] of byPartition(c.records.slice(sent, due))) {
        const messages = records.map(r => ({ partition, timestamp: String(r.t), key: r.k, value: r.v }))
        await p.send({ topic: c.topic, acks: -1, messages })
      }
      if (due <= sent) await new Promise(resolve => setTimeout(resolve, c.ms))
      sent = Math.max(sent, due)
    }
    await p.disconnect()
    return {}
  },

  // kafkajs can only seek within a group, so a read is a group of its own.
  async read (c) {
    const k = kafka.consumer({ groupId: `read-${process.pid}-${Date.now()}-${Math.random()}`, maxWaitTimeInMs: 100 })
    await k.connect()
    await k.subscribe({ topic: c.topic, fromBeginning: true })
    const out = []
    await new Promise((resolve, reject) => {
      k.on(k.events.CRASH, e => reject(e.payload.error))
      k.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          if (partition !== c.p || Number(message.offset) < c.offset) return
          if (out.length < c.n) out.push(fields(partition, message))
          if (out.length === c.n) resolve()
        },
      }).catch(reject)
      k.seek({ topic: c.topic, partition: c.p, offset: String(c.offset) })
    })
    await k.disconnect()
    return { records: out }
  },

  async offset (c) {
    const admin = kafka.admin()
    await admin.connect()
    const found = await admin.fetchTopicOffsetsByTimestamp(c.topic, c.t)
    await admin.disconnect()
    return { offset: Number(found.find(o => o.partition === c.p).offset) }
  },

  async join (c) {
    const k = kafka.consumer({
      groupId: c.group, heartbeatInterval: 100, maxWaitTimeInMs: 100, partitionAssigners: [PartitionAssigners.roundRobin],
    })
    Object.assign(state, { member: k, topic: c.topic, have: [], wake: null })
    await k.connect()
    await k.subscribe({ topic: c.topic, fromBeginning: true })
    await k.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        state.have.push(fields(partition, message))
        if (state.wake) state.wake()
      },
    })
    return {}
  },

  async next (c) {
    if (state.have.length === 0) {
      await new Promise(resolve => {
        const timer = setTimeout(resolve, c.ms)
        state.wake = () => { clearTimeout(timer); resolve() }
      })
      state.wake = null
    }
    return { records: state.have.splice(0) }
  },

  async commit (c) {
    await state.member.commitOffsets(Object.entries(c.offsets).map(([p, o]) => ({ topic: state.topic, partition: Number(p), offset: String(o) })))
    return {}
  },
}

async function main () {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const c = JSON.parse(line)
    let answer
    try {
      answer = await ops[c.op](c)
    } catch (e) {
      answer = { error: String(e && e.stack || e) }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  if (state.member) await state.member.disconnect()
  process.exit(0)
}

main()
