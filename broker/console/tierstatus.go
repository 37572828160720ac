package console

// TierPartition is the state of one partition in both tiers, as /v1/tier gives it and firn tier status
// shows it. Offsets are those of the log; -1 stands for what is not known. Sizes are bytes.
type TierPartition struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	Leader    int32  `json:"leader"` // broker that answered for it
	Tiered    bool   `json:"tiered"` // new segments are archived

	LogStart      int64 `json:"log_start"`      // first record there is
	LocalStart    int64 `json:"local_start"`    // first record on local disk
	TieredEnd     int64 `json:"tiered_end"`     // everything below is archived
	HighWatermark int64 `json:"high_watermark"` // everything below can be read
	End           int64 `json:"end"`            // next offset to be written

	LocalBytes     int64 `json:"local_bytes"`
	LocalSegments  int64 `json:"local_segments"`
	TieredBytes    int64 `json:"tiered_bytes"` // of objects, as stored
	TieredSegments int64 `json:"tiered_segments"`

	LagBytes   int64   `json:"lag_bytes"`       // on local disk and not archived yet
	LagSeconds float64 `json:"lag_seconds"`     // age of the oldest of them
	Failures   int     `json:"failures"`        // uploads that failed in a row
	Error      string  `json:"error,omitempty"` // of the last of them
}
