package history

// Verdict is what an error says of the operation that it ended.
type Verdict struct {
	// First is the outcome if there was no earlier attempt at the operation.
	First Outcome
	// Retried is the outcome if there may have been one, which may have happened.
	Retried Outcome
	// Ends says that the process must not go on: its client has lost its place.
	Ends bool
}

// verdicts is the one table of what errors mean, by Kafka's names and, in lower case, by those that a client has for what
// no broker said. What is not here is unknown: when in doubt an operation may have happened.
//
// The middle ones say of one attempt that it did not happen. A client that tries again by itself returns the error of the
// last attempt, and an earlier one may have been written and its answer lost. Those on top are said of the operation and
// would be said of each attempt.
var verdicts = map[string]Verdict{
	"MESSAGE_TOO_LARGE":                     {First: Fail, Retried: Fail},
	"RECORD_LIST_TOO_LARGE":                 {First: Fail, Retried: Fail},
	"INVALID_RECORD":                        {First: Fail, Retried: Fail},
	"INVALID_TIMESTAMP":                     {First: Fail, Retried: Fail},
	"INVALID_TOPIC_EXCEPTION":               {First: Fail, Retried: Fail},
	"INVALID_REQUIRED_ACKS":                 {First: Fail, Retried: Fail},
	"INVALID_REPLICATION_FACTOR":            {First: Fail, Retried: Fail},
	"UNSUPPORTED_VERSION":                   {First: Fail, Retried: Fail},
	"UNSUPPORTED_COMPRESSION_TYPE":          {First: Fail, Retried: Fail},
	"OFFSET_METADATA_TOO_LARGE":             {First: Fail, Retried: Fail},
	"INVALID_COMMIT_OFFSET_SIZE":            {First: Fail, Retried: Fail},
	"aborted":                               {First: Fail, Retried: Fail}, // by a successful EndTxn
	"buffer full":                           {First: Fail, Retried: Fail}, // refused before it was sent
	"TOPIC_AUTHORIZATION_FAILED":            {First: Fail, Ends: true},
	"GROUP_AUTHORIZATION_FAILED":            {First: Fail, Ends: true},
	"CLUSTER_AUTHORIZATION_FAILED":          {First: Fail, Ends: true},
	"TRANSACTIONAL_ID_AUTHORIZATION_FAILED": {First: Fail, Ends: true},
	"UNKNOWN_TOPIC_OR_PARTITION":            {First: Fail},
	"UNKNOWN_TOPIC_ID":                      {First: Fail},
	"NOT_CONTROLLER":                        {First: Fail},
	"NOT_ENOUGH_REPLICAS":                   {First: Fail},
	"BROKER_NOT_AVAILABLE":                  {First: Fail},
	"THROTTLING_QUOTA_EXCEEDED":             {First: Fail},
	"ILLEGAL_GENERATION":                    {First: Fail},
	"UNKNOWN_MEMBER_ID":                     {First: Fail},
	"REBALANCE_IN_PROGRESS":                 {First: Fail},
	"FENCED_INSTANCE_ID":                    {First: Fail, Ends: true},
	"STALE_MEMBER_EPOCH":                    {First: Fail},
	"FENCED_MEMBER_EPOCH":                   {First: Fail},
	"OUT_OF_ORDER_SEQUENCE_NUMBER":          {First: Fail, Ends: true},
	"UNKNOWN_PRODUCER_ID":                   {First: Fail, Ends: true},
	"INVALID_PRODUCER_EPOCH":                {First: Fail, Ends: true},
	"INVALID_PRODUCER_ID_MAPPING":           {First: Fail, Ends: true},
	"PRODUCER_FENCED":                       {First: Fail, Ends: true},
	"INVALID_TXN_STATE":                     {First: Fail, Ends: true},
	"dial":                                  {First: Fail}, // nothing was sent
	"NOT_LEADER_FOR_PARTITION":              {},            // the old leader may have appended it and lost its leadership before it answered
	"NOT_COORDINATOR":                       {},            // the same of a shard
	"COORDINATOR_NOT_AVAILABLE":             {},            // a commit that was written and not replicated in time gets it, too
	"COORDINATOR_LOAD_IN_PROGRESS":          {},
	"FENCED_LEADER_EPOCH":                   {},
	"NOT_ENOUGH_REPLICAS_AFTER_APPEND":      {},
	"KAFKA_STORAGE_ERROR":                   {},
	"REQUEST_TIMED_OUT":                     {},
	"NETWORK_EXCEPTION":                     {},
	"UNKNOWN_SERVER_ERROR":                  {},
	"timeout":                               {},
	"disconnect":                            {},
	"closed":                                {Ends: true}, // the client, with the operation in flight
	"another member":                        {Ends: true}, // what a client committed that has lost its place, and does not know
	"data loss":                             {Ends: true}, // what a client calls it when a broker has forgotten its sequence
}

// Judge says what an error's name means; names that are not known mean nothing.
func Judge(name string) Verdict { return verdicts[name] }

// Of is the outcome for an operation that was, or may have been, attempted before.
func (v Verdict) Of(retried bool) Outcome {
	if retried {
		return v.Retried
	}
	return v.First
}
