package org.apache.cassandra.hints;

import java.util.Map;

import org.apache.cassandra.config.Config;
import org.apache.cassandra.config.ConfigurationLoader;
import org.apache.cassandra.config.ParameterizedClass;
import org.apache.cassandra.utils.StorageCompatibilityMode;

/** What Cassandra's classes must be told before they read a file: no yaml, no port, nothing on disk. */
public final class InteropConfig implements ConfigurationLoader
{
    @Override
    public Config loadConfig()
    {
        String scratch = System.getProperty("interop.scratch");
        Config config = new Config();
        config.partitioner = "Murmur3Partitioner";
        config.endpoint_snitch = "SimpleSnitch";
        config.listen_address = "127.0.0.1";
        config.rpc_address = "127.0.0.1";
        config.commitlog_directory = scratch + "/commitlog";
        config.saved_caches_directory = scratch + "/caches";
        config.hints_directory = scratch + "/hints";
        config.cdc_raw_directory = scratch + "/cdc";
        config.data_file_directories = new String[]{ scratch + "/data" };
        config.seed_provider = new ParameterizedClass("org.apache.cassandra.locator.SimpleSeedProvider",
                                                      Map.of("seeds", "127.0.0.1"));
        config.commitlog_sync = Config.CommitLogSync.periodic;
        config.commitlog_sync_period = new org.apache.cassandra.config.DurationSpec.IntMillisecondsBound("10s");
        // All of version 3, vectors among it.
        config.storage_compatibility_mode = StorageCompatibilityMode.NONE;
        return config;
    }
}
