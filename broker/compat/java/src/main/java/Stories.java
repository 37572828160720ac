import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client as a client of the stories: one JSON command a line, one JSON answer a line. */
public final class Stories {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private KafkaConsumer<String, String> member;
    private String topic;

    private Stories(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        Stories s = new Stories(args[0]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            ObjectNode answer;
            try {
                answer = s.run(JSON.readTree(line));
            } catch (Exception e) {
                answer = JSON.createObjectNode().put("error", e.toString());
            }
            out.println(answer);
            out.flush();
        }
        if (s.member != null) {
            s.member.close();
        }
    }

    private ObjectNode run(JsonNode c) throws Exception {
        switch (c.get("op").asText()) {
            case "produce": return produce(c);
            case "pace": return pace(c);
            case "read": return read(c);
            case "offset": return offset(c);
            case "join": return join(c);
            case "next": return next(c);
            case "commit": return commit(c);
            default: throw new IllegalArgumentException(c.toString());
        }
    }

    private ObjectNode produce(JsonNode c) throws Exception {
        Map<String, Object> p = new HashMap<>(); // the client's own defaults: idempotent, acks=all
        p.put("bootstrap.servers", bootstrap);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            long began = System.nanoTime();
            for (JsonNode r : c.get("records")) {
                Thread.sleep(Math.max(0, sent.size() * c.get("ms").asLong() - (System.nanoTime() - began) / 1_000_000));
                sent.add(producer.send(new ProducerRecord<>(c.get("topic").asText(), r.get("p").asInt(), r.get("t").asLong(),
                    r.get("k").asText(), r.get("v").asText())));
            }
            for (Future<?> f : sent) {
                f.get();
            }
        }
        return JSON.createObjectNode();
    }

    /** Sends a record to each of n partitions every ms for t ms, none before the last is acked; says when each one's longest wait ended. */
    private ObjectNode pace(JsonNode c) throws Exception {
        Map<String, Object> p = new HashMap<>(); // the client's own defaults
        p.put("bootstrap.servers", bootstrap);
        int n = c.get("n").asInt();
        long[] due = new long[n];
        long[] longest = new long[n];
        long[] ended = new long[n];
        boolean[] flying = new boolean[n];
        Exception[] failed = new Exception[1];
        Object lock = new Object();
        long end = System.currentTimeMillis() + c.get("t").asLong();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            while (System.currentTimeMillis() < end) {
                for (int i = 0; i < n; i++) {
                    int at = i;
                    synchronized (lock) {
                        if (flying[at] || System.currentTimeMillis() < due[at]) {
                            continue;
                        }
                        flying[at] = true;
                        due[at] = System.currentTimeMillis();
                    }
                    producer.send(new ProducerRecord<>(c.get("topic").asText(), at, "k", "v"), (m, e) -> {
                        synchronized (lock) {
                            long now = System.currentTimeMillis();
                            if (e != null && failed[0] == null) {
                                failed[0] = e;
                            } else if (e == null && now - due[at] > longest[at]) {
                                longest[at] = now - due[at];
                                ended[at] = now;
                            }
                            flying[at] = false;
                            due[at] += c.get("ms").asLong();
                        }
                    });
                }
                Thread.sleep(5);
            }
        }
        if (failed[0] != null) {
            throw failed[0];
        }
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode out = answer.putArray("ended");
        for (long t : ended) {
            out.add(t);
        }
        return answer;
    }

    private KafkaConsumer<String, String> consumer(String group) {
        Map<String, Object> p = new HashMap<>();
        p.put("bootstrap.servers", bootstrap);
        p.put("enable.auto.commit", false);
        p.put("auto.offset.reset", "earliest");
        p.put("fetch.max.wait.ms", 100);
        if (group != null) {
            p.put("group.id", group);
            p.put("heartbeat.interval.ms", 100);
        }
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    private static void add(ArrayNode out, ConsumerRecord<String, String> r) {
        out.addObject().put("p", r.partition()).put("o", r.offset()).put("t", r.timestamp()).put("k", r.key()).put("v", r.value());
    }

    private ObjectNode read(JsonNode c) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode out = answer.putArray("records");
        TopicPartition tp = new TopicPartition(c.get("topic").asText(), c.get("p").asInt());
        try (KafkaConsumer<String, String> k = consumer(null)) {
            k.assign(List.of(tp));
            k.seek(tp, c.get("offset").asLong());
            long end = System.nanoTime() + Duration.ofSeconds(30).toNanos();
            while (out.size() < c.get("n").asInt()) {
                if (System.nanoTime() > end) {
                    throw new IllegalStateException("only " + out.size() + " records");
                }
                for (ConsumerRecord<String, String> r : k.poll(Duration.ofSeconds(1))) {
                    if (out.size() < c.get("n").asInt()) {
                        add(out, r);
                    }
                }
            }
        }
        return answer;
    }

    private ObjectNode offset(JsonNode c) {
        TopicPartition tp = new TopicPartition(c.get("topic").asText(), c.get("p").asInt());
        try (KafkaConsumer<String, String> k = consumer(null)) {
            return JSON.createObjectNode().put("offset", k.offsetsForTimes(Map.of(tp, c.get("t").asLong())).get(tp).offset());
        }
    }

    private ObjectNode join(JsonNode c) {
        topic = c.get("topic").asText();
        member = consumer(c.get("group").asText());
        member.subscribe(List.of(topic));
        return JSON.createObjectNode();
    }

    private ObjectNode next(JsonNode c) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode out = answer.putArray("records");
        for (ConsumerRecord<String, String> r : member.poll(Duration.ofMillis(c.get("ms").asLong()))) {
            add(out, r);
        }
        return answer;
    }

    private ObjectNode commit(JsonNode c) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        c.get("offsets").fields().forEachRemaining(e ->
            offsets.put(new TopicPartition(topic, Integer.parseInt(e.getKey())), new OffsetAndMetadata(e.getValue().asLong())));
        member.commitSync(offsets);
        return JSON.createObjectNode();
    }
}
