package topic

// Type is the type of a setting's value; the numbers are those of DescribeConfigs.
type Type int8

// The types a setting may have.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// Source says where a setting's value comes from; the numbers are those of DescribeConfigs.
type Source int8

// The sources, strongest first.
const (
	SourceTopic          Source = 1 // an override on the topic
	SourceBroker         Source = 2 // set at run time on this broker
	SourceClusterDefault Source = 3 // set at run time for all brokers
	SourceStatic         Source = 4 // in the broker's own flags, environment or file
	SourceDefault        Source = 5 // nobody said anything
)

// Def describes one topic setting.
type Def struct {
	Name     string
	Type     Type
	Default  string
	Doc      string    // one or two sentences, for DescribeConfigs and for people
	Allowed  string    // what values are legal, as an error names it
	Effect   bool      // false: accepted and described, but nothing reads it
	Synonyms []Synonym // server-level settings it falls back to, in order of precedence

	check func(value string) error
}

// Synonym is a server-level setting a topic setting falls back to.
type Synonym struct {
	Name string
	// Scale is what one unit of the server setting is in units of the topic setting: 60000 for a
	// number of minutes behind a number of milliseconds, 1 where both count the same.
	Scale int64
}

// Error reports a setting that cannot be accepted. Its text names the key, the value and what is allowed.
type Error struct {
	Key     string
	Value   string
	Allowed string // "" for an unknown key
	Unknown bool   // no such setting
}

// Defaults is what a topic falls back to where it has no override of its own.
type Defaults struct {
	// Tiered says that the cluster has object storage. Topics are then tiered unless they say
	// otherwise; without it nothing is tiered whatever a topic says.
	Tiered bool
	// Server-level settings by their server-level names (log.retention.hours, num.partitions and so
	// on); keys that no topic setting falls back to are ignored. Nil maps are empty.
	Broker  map[string]string // set at run time on one broker
	Cluster map[string]string // set at run time for all brokers
	Static  map[string]string // set in flags, environment or file
}

// Value is a setting's effective value and where it comes from.
type Value struct {
	Def    *Def
	Value  string
	Source Source
	// Chain lists every place that gives a value, strongest first, the default last.
	Chain []Origin
}

// Origin is one place that gives a setting a value.
type Origin struct {
	Name   string // the topic-level or server-level name there
	Value  string // as written there
	Source Source
}
