package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"firn/broker"
	"firn/metadata/topic"
)

// settingLine is one setting as firn config shows it.
type settingLine struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	From    string `json:"from"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Allowed string `json:"allowed"`
	Env     string `json:"environment,omitempty"`
	Dynamic bool   `json:"dynamic"` // can be changed while brokers run
	Effect  bool   `json:"effect"`
	Doc     string `json:"doc"`
}

func newConfig(a *app) *cobra.Command {
	var s settingFlags
	var asJSON, topics, dev bool
	cmd := &cobra.Command{
		Use:   "config [WORD]...",
		Short: "Show every setting, what it means and where its value comes from",
		Long: `Show the settings whose names hold one of the words, or all: value, type, default and meaning,
and whether the value comes from a flag, the environment, the file or the default. Nothing is
started. With --topic it shows the settings that a topic may have instead.`,
		Example: `  firn config
  firn config --config broker.properties tier.
  firn config --topic retention
  FIRN_NODE_ID=3 firn config node.id --json`,
		RunE: func(_ *cobra.Command, args []string) error {
			base := broker.DefaultConfig()
			if dev {
				var err error
				if base, err = broker.DevConfig(a.dataDir()); err != nil {
					return err
				}
			}
			cfg, err := a.load(base, s)
			if err != nil {
				return err
			}
			lines := brokerSettings(&cfg)
			if topics {
				lines = topicSettings(&cfg)
			}
			lines = holding(lines, args)
			if len(lines) == 0 {
				return fmt.Errorf("no setting is called like %q", args)
			}
			if asJSON {
				return writeJSON(a.out, lines)
			}
			return printSettings(a.out, lines)
		},
	}
	s.addFile(cmd)
	s.addSet(cmd)
	cmd.Flags().BoolVar(&topics, "topic", false, "show the settings of topics, as they fall out on this broker")
	cmd.Flags().BoolVar(&dev, "dev", false, "begin with the defaults of firn dev")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func brokerSettings(cfg *broker.Config) []settingLine {
	var out []settingLine
	for i := range broker.Settings {
		s := &broker.Settings[i]
		out = append(out, settingLine{
			Name: s.Name, Value: s.Value(cfg), From: cfg.Origin(s.Name).String(), Type: s.Type.String(),
			Default: s.Default, Allowed: s.Allowed, Env: broker.EnvName(s.Name), Dynamic: s.Dynamic,
			Effect: s.Topic() == nil || s.Topic().Effect, Doc: s.Doc,
		})
	}
	return out
}

func topicSettings(cfg *broker.Config) []settingLine {
	var out []settingLine
	d := cfg.TopicDefaults()
	for _, v := range topic.Resolve(nil, d) {
		from := "default"
		if o := v.Chain[0]; o.Source == topic.SourceStatic {
			from = "broker setting " + o.Name + ", " + cfg.Origin(o.Name).String()
		}
		out = append(out, settingLine{
			Name: v.Def.Name, Value: v.Value, From: from, Type: v.Def.Type.String(), Default: v.Def.DefaultFor(d.Tiered),
			Allowed: v.Def.Allowed, Dynamic: true, Effect: v.Def.Effect, Doc: v.Def.Doc,
		})
	}
	return out
}

// holding keeps the settings whose names hold one of the words.
func holding(lines []settingLine, words []string) []settingLine {
	if len(words) == 0 {
		return lines
	}
	var out []settingLine
	for _, l := range lines {
		for _, w := range words {
			if strings.Contains(l.Name, w) {
				out = append(out, l)
				break
			}
		}
	}
	return out
}

// maxDocWidth is how long a line of text may be that is easily read.
const maxDocWidth = 96

// docWidth is how long indented lines of text are on out.
func docWidth(out io.Writer) int {
	if w := terminalWidth(out); w > 0 {
		return max(20, min(maxDocWidth, w-6))
	}
	return maxDocWidth
}

func printSettings(out io.Writer, lines []settingLine) error {
	for i, l := range lines {
		if i > 0 {
			_, _ = fmt.Fprintln(out)
		}
		_, _ = fmt.Fprintf(out, "%s = %s\n", l.Name, l.Value)
		env := ""
		if l.Env != "" {
			env = ", environment " + l.Env
		}
		_, _ = fmt.Fprintf(out, "    from %s; %s, default %q%s\n", l.From, l.Type, l.Default, env)
		for _, line := range wrap(l.Doc+" Allowed: "+l.Allowed+".", docWidth(out)) {
			if _, err := fmt.Fprintf(out, "    %s\n", line); err != nil {
				return err
			}
		}
	}
	return nil
}

// wrap breaks text into lines of at most width bytes, between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
