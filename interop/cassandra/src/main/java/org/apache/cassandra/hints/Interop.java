package org.apache.cassandra.hints;

import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

import com.google.common.collect.ImmutableMap;

import org.apache.cassandra.config.DatabaseDescriptor;
import org.apache.cassandra.cql3.CQLStatement;
import org.apache.cassandra.cql3.QueryOptions;
import org.apache.cassandra.cql3.QueryProcessor;
import org.apache.cassandra.cql3.statements.ModificationStatement;
import org.apache.cassandra.cql3.statements.schema.AlterSchemaStatement;
import org.apache.cassandra.db.IMutation;
import org.apache.cassandra.db.Mutation;
import org.apache.cassandra.db.TypeSizes;
import org.apache.cassandra.db.partitions.PartitionUpdate;
import org.apache.cassandra.db.rows.Cell;
import org.apache.cassandra.db.rows.Row;
import org.apache.cassandra.io.compress.BufferType;
import org.apache.cassandra.io.util.DataInputBuffer;
import org.apache.cassandra.io.util.DataOutputBuffer;
import org.apache.cassandra.io.util.File;
import org.apache.cassandra.net.MessagingService;
import org.apache.cassandra.schema.Schema;
import org.apache.cassandra.schema.TableId;
import org.apache.cassandra.service.ClientState;
import org.apache.cassandra.transport.Dispatcher;
import org.apache.cassandra.utils.ByteBufferUtil;
import org.apache.cassandra.utils.memory.BufferPools;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.AppenderBase;
import org.slf4j.LoggerFactory;

/**
 * Reads hint files with Cassandra's own readers, and prints what they give.
 *
 *   read SCHEMA FILE...     a line for each hint, and one for each file
 *   damage SCHEMA FILE      the same file with each bit flipped, and cut at each byte: a line each
 *   time SCHEMA FILE        how long either reader takes
 *   statements SCHEMA FILE  what the statements of a file write: a line for each live cell
 */
public final class Interop
{
    /** A reader that gives more than so many of a small file gives the same again. */
    private static final int ENDLESS = 60;
    private static final int PAGES = 1000;
    /** Longer values are shown by their length. */
    private static final int SHOWN_MAX = 1024;

    private static final Warnings LOG = new Warnings();

    private static final class Warnings extends AppenderBase<ILoggingEvent>
    {
        boolean mismatch;
        boolean end;

        @Override
        protected void append(ILoggingEvent event)
        {
            String message = event.getFormattedMessage();
            mismatch |= message.contains("digest mismatch");
            end |= message.contains("Unexpected EOF");
        }
    }

    /** What a reader gave, and how it ended. */
    private static final class Run
    {
        final List<ByteBuffer> bodies = new ArrayList<>();
        boolean warned;
        boolean failed;
    }

    public static void main(String[] args) throws Exception
    {
        boot();
        schema(Paths.get(args[1]));
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        switch (args[0])
        {
            case "read":
                for (int i = 2; i < args.length; i++)
                    read(Paths.get(args[i]), out);
                break;
            case "damage":
                damage(Paths.get(args[2]), out);
                break;
            case "time":
                time(Paths.get(args[2]), out);
                break;
            case "statements":
                statements(Paths.get(args[2]), out);
                break;
            default:
                throw new IllegalArgumentException(args[0]);
        }
        out.flush();
        // Some of Cassandra's threads would keep the process.
        Runtime.getRuntime().halt(0);
    }

    private static void boot()
    {
        System.setProperty("cassandra.clock", InteropClock.class.getName());
        System.setProperty("cassandra.config.loader", InteropConfig.class.getName());
        System.setProperty("cassandra.storagedir", System.getProperty("interop.scratch"));
        Logger root = (Logger) LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME);
        root.setLevel(Level.OFF);
        Logger hints = (Logger) LoggerFactory.getLogger("org.apache.cassandra.hints");
        LOG.setContext(hints.getLoggerContext());
        LOG.start();
        hints.setLevel(Level.WARN);
        hints.setAdditive(false);
        hints.addAppender(LOG);
        DatabaseDescriptor.toolInitialization();
        DatabaseDescriptor.applyAddressConfig();
    }

    private static void schema(Path file) throws Exception
    {
        StringBuilder text = new StringBuilder();
        for (String line : Files.readAllLines(file))
            if (!line.trim().startsWith("--"))
                text.append(line).append('\n');
        for (String statement : text.toString().split(";"))
        {
            if (statement.isBlank())
                continue;
            ClientState state = ClientState.forInternalCalls();
            Schema.instance.transform((AlterSchemaStatement) QueryProcessor.parseStatement(statement).prepare(state));
        }
    }

    /** One of the two readers over a file. */
    private static Run run(Path path, boolean verbatim, boolean keep, int most)
    {
        Run run = new Run();
        scrub();
        LOG.mismatch = LOG.end = false;
        int count = 0;
        int pages = 0;
        try (HintsReader reader = HintsReader.open(new File(path)))
        {
            int messaging = reader.descriptor().messagingVersion();
            for (HintsReader.Page page : reader)
            {
                if (++pages > PAGES && most != Integer.MAX_VALUE)
                    throw new IllegalStateException("endless");
                Iterator<?> items = verbatim ? page.buffersIterator() : page.hintsIterator();
                while (items.hasNext())
                {
                    if (++count > most)
                        throw new IllegalStateException("endless");
                    Object item = items.next();
                    if (keep)
                        run.bodies.add(verbatim ? (ByteBuffer) item : anew((Hint) item, messaging));
                }
            }
        }
        catch (Throwable e)
        {
            run.failed = true;
        }
        run.warned = LOG.mismatch || LOG.end;
        return run;
    }

    /**
     * Buffers are from a pool, and hold what was read before: the very bytes that a cut file lacks, as it is the file
     * that was read before. A node has read something else.
     */
    private static void scrub()
    {
        List<ByteBuffer> buffers = new ArrayList<>();
        for (int i = 0; i < 128; i++)
        {
            // Small ones come from a chunk of their own.
            ByteBuffer buffer = BufferPools.forChunkCache().get(i % 2 == 0 ? 4096 : 1024, BufferType.OFF_HEAP);
            while (buffer.hasRemaining())
                buffer.put((byte) 0);
            buffers.add(buffer);
        }
        for (ByteBuffer buffer : buffers)
            BufferPools.forChunkCache().put(buffer);
    }

    /** A hint as it would be written again: a mutation keeps the bytes it was read from, and is put together anew. */
    private static ByteBuffer anew(Hint hint, int messaging) throws Exception
    {
        ImmutableMap.Builder<TableId, PartitionUpdate> updates = ImmutableMap.builder();
        for (PartitionUpdate update : hint.mutation.getPartitionUpdates())
            updates.put(update.metadata().id, update);
        Mutation fresh = new Mutation(hint.mutation.getKeyspaceName(), hint.mutation.key(), updates.build(), 0L);
        try (DataOutputBuffer out = new DataOutputBuffer())
        {
            // 5.0 writes no messaging version 10; a mutation has the same bytes in 12.
            int version = Math.max(messaging, MessagingService.VERSION_40);
            Hint.serializer.serialize(Hint.create(fresh, hint.creationTime, hint.gcgs), out, version);
            return ByteBuffer.wrap(out.toByteArray());
        }
    }

    private static void statements(Path file, PrintStream out) throws Exception
    {
        for (String text : Files.readAllLines(file))
        {
            try
            {
                for (IMutation mutation : written(text))
                    for (PartitionUpdate update : mutation.getPartitionUpdates())
                        cells(update, out);
            }
            catch (Throwable e)
            {
                out.println("refused " + text + ": " + (e.getCause() == null ? e : e.getCause()));
            }
        }
    }

    /** What a statement writes; the method that tells is not for others. */
    private static Iterable<? extends IMutation> written(String text) throws Exception
    {
        ClientState state = ClientState.forInternalCalls();
        CQLStatement statement = QueryProcessor.parseStatement(text).prepare(state);
        Method method = ModificationStatement.class.getDeclaredMethod("getMutations", ClientState.class,
            QueryOptions.class, boolean.class, long.class, long.class, Dispatcher.RequestTime.class);
        method.setAccessible(true);
        QueryOptions none = QueryOptions.DEFAULT;
        // Local, so that nothing is read or sent; at any time, as each statement has its own.
        Object found = method.invoke(statement, state, none, true, 1L, 1L, Dispatcher.RequestTime.forImmediateExecution());
        return (List<? extends IMutation>) found;
    }

    private static void cells(PartitionUpdate update, PrintStream out) throws Exception
    {
        String place = update.metadata().keyspace + "." + update.metadata().name + " "
            + ByteBufferUtil.bytesToHex(update.partitionKey().getKey());
        List<Row> rows = new ArrayList<>();
        rows.add(update.staticRow());
        for (Row row : update)
            rows.add(row);
        for (Row row : rows)
            for (Cell<?> cell : row.cells())
            {
                if (cell.isTombstone())
                    continue;
                ByteBuffer value = cell.buffer();
                int length = value.remaining();
                String shown = length > SHOWN_MAX ? length + " bytes" : ByteBufferUtil.bytesToHex(value);
                out.println(place + " " + cell.column().name + " " + shown);
            }
    }

    private static String status(Run verbatim, Run decoding)
    {
        if (verbatim.failed || decoding.failed)
            return "failed";
        return verbatim.warned || decoding.warned ? "warned" : "clean";
    }

    private static void read(Path file, PrintStream out) throws Exception
    {
        Run verbatim = run(file, true, true, Integer.MAX_VALUE);
        Run decoding = run(file, false, true, Integer.MAX_VALUE);
        for (ByteBuffer body : verbatim.bodies)
        {
            try (DataInputBuffer in = new DataInputBuffer(body.duplicate(), false))
            {
                long created = in.readLong();
                int gcgs = in.readUnsignedVInt32();
                int prefix = 8 + TypeSizes.sizeofUnsignedVInt(gcgs);
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                ByteBuffer mutation = body.duplicate();
                mutation.position(mutation.position() + prefix);
                digest.update(mutation);
                StringBuilder hex = new StringBuilder();
                for (byte b : digest.digest())
                    hex.append(String.format("%02x", b));
                out.println("hint " + hex + " " + created + " " + gcgs);
            }
        }
        out.println("file " + status(verbatim, decoding) + " " + verbatim.bodies.size() + " "
                    + decoding.bodies.size() + " " + file);
    }

    private static void damage(Path file, PrintStream out) throws Exception
    {
        byte[] good = Files.readAllBytes(file);
        Map<ByteBuffer, Integer> verbatim = numbers(run(file, true, true, ENDLESS));
        Map<ByteBuffer, Integer> decoding = numbers(run(file, false, true, ENDLESS));
        Path folder = Files.createTempDirectory(Paths.get(System.getProperty("interop.scratch")), "damage");
        Path copy = folder.resolve(file.getFileName());
        for (int bit = 0; bit < good.length * 8; bit++)
        {
            byte[] bytes = good.clone();
            bytes[bit / 8] ^= 1 << bit % 8;
            Files.write(copy, bytes);
            judge("flip " + bit, copy, verbatim, decoding, out);
        }
        for (int length = 0; length < good.length; length++)
        {
            Files.write(copy, java.util.Arrays.copyOf(good, length));
            judge("cut " + length, copy, verbatim, decoding, out);
        }
        Files.delete(copy);
        Files.delete(folder);
    }

    private static Map<ByteBuffer, Integer> numbers(Run run)
    {
        Map<ByteBuffer, Integer> numbers = new HashMap<>();
        for (ByteBuffer body : run.bodies)
            numbers.putIfAbsent(body, numbers.size());
        return numbers;
    }

    private static void judge(String what, Path file, Map<ByteBuffer, Integer> verbatim, Map<ByteBuffer, Integer> decoding,
                              PrintStream out)
    {
        Run first = run(file, true, true, ENDLESS);
        Run second = run(file, false, true, ENDLESS);
        out.println(what + " " + status(first, second) + " " + list(first, verbatim) + " " + list(second, decoding));
    }

    /** Numbers in the good file, -1 for what that does not have. */
    private static String list(Run run, Map<ByteBuffer, Integer> numbers)
    {
        StringBuilder list = new StringBuilder("[");
        for (ByteBuffer body : run.bodies)
            list.append(list.length() == 1 ? "" : ",").append(numbers.getOrDefault(body, -1));
        return list.append(']').toString();
    }

    private static void time(Path file, PrintStream out)
    {
        for (int round = 0; round < 4; round++)
        {
            for (boolean verbatim : new boolean[]{ true, false })
            {
                long start = System.nanoTime();
                Run run = run(file, verbatim, false, Integer.MAX_VALUE);
                long took = System.nanoTime() - start;
                // The first round warms up.
                if (round > 0)
                    out.println((verbatim ? "verbatim " : "decoding ") + took + (run.failed ? " failed" : ""));
            }
        }
    }
}
