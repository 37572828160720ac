package api

// Kafka's ACL operations as bits of the authorized_operations fields, which say what the asking
// principal may do. There is no authorizer yet that knows operations: everybody may do everything
// that the resource knows.
const (
	opRead            = 1 << 3
	opWrite           = 1 << 4
	opCreate          = 1 << 5
	opDelete          = 1 << 6
	opAlter           = 1 << 7
	opDescribe        = 1 << 8
	opClusterAction   = 1 << 9
	opDescribeConfigs = 1 << 10
	opAlterConfigs    = 1 << 11
	opIdempotentWrite = 1 << 12

	topicOperations = opRead | opWrite | opCreate | opDelete | opAlter | opDescribe | opDescribeConfigs | opAlterConfigs

	clusterOperations = opCreate | opAlter | opDescribe | opClusterAction | opDescribeConfigs | opAlterConfigs | opIdempotentWrite
)

// notAsked is sent where the operations were not asked for.
const notAsked = -1 << 31

// operations returns ops if they were asked for.
func operations(asked bool, ops int32) int32 {
	if asked {
		return ops
	}
	return notAsked
}
